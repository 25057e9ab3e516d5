import { assert } from '../base/assert.ts'
import type { StoreId } from '../model/node-id.ts'
import { type ClaimMember, quotas, zoneCaps } from './quotas.ts'
import { scoreOf, storeHash } from './rendezvous.ts'

/** Index of a member in the table's list of members. */
export type MemberIndex = number

/** Nobody: what a hole is filled from. */
export const NOBODY: MemberIndex = -1

/** A slot of a partition goes from one member, or from nobody, to another. */
export interface SlotMove {
  readonly partition: number
  readonly from: MemberIndex
  readonly to: MemberIndex
}

/**
 * The table of owners while a claim works on it: who holds what, how much room is left, and what the zones allow.
 * Members are numbers here, as a claim asks {@link SlotTable.fits} some millions of times.
 */
export class SlotTable {
  readonly partitions: number
  readonly slots: number
  readonly members: readonly ClaimMember[]
  /** For each member: quota less what it holds. */
  readonly #room: Int32Array
  readonly #rowLengths: Uint32Array
  /** One byte for each partition and member: whether it owns it. */
  readonly #owns: Uint8Array
  readonly #hashes: Int32Array
  readonly #zoneOf: Int32Array
  readonly #zoneCaps: Int32Array
  /** For each partition and zone: slots in use. */
  readonly #zoneUse: Int32Array

  /**
   * Takes over what is legal of the current rows: members that are still there, within the zones' caps.
   *
   * @param members - all of a weight above 0, ordered by store id
   */
  constructor(
    members: readonly ClaimMember[],
    current: readonly (readonly StoreId[])[] | undefined,
    partitions: number,
    replicas: number
  ) {
    this.members = members
    this.partitions = partitions
    this.slots = Math.min(replicas, members.length)
    const caps = zoneCaps(members, this.slots)
    const zones = [...caps.keys()]
    this.#zoneCaps = Int32Array.from(caps.values())
    this.#zoneOf = Int32Array.from(members, ({ zone }) => zones.indexOf(zone))
    this.#zoneUse = new Int32Array(partitions * zones.length)
    this.#hashes = Int32Array.from(members, ({ storeId }) => storeHash(storeId))
    this.#owns = new Uint8Array(partitions * members.length)
    this.#rowLengths = new Uint32Array(partitions)
    const indexOf = new Map(members.map(({ storeId }, index) => [storeId, index]))
    const rows = Array.from({ length: partitions }, (_, partition) =>
      (current?.[partition] ?? []).map(id => indexOf.get(id)).filter(index => index !== undefined)
    )
    const before = members.map(() => 0)
    for (const row of rows) for (const member of row) before[member]!++
    this.#room = Int32Array.from(quotas(members, partitions, this.slots, before))
    const excess = this.#room.map((quota, member) => before[member]! - quota)
    for (const [partition, row] of rows.entries()) this.#keep(partition, row, excess)
  }

  /** Slots that a row lacks. */
  holes(partition: number): number {
    return this.slots - this.#rowLengths[partition]!
  }

  /** How far a member is below its quota; negative when it is above. */
  room(member: MemberIndex): number {
    return this.#room[member]!
  }

  /** The greatest room of a member among those that are smaller than `below`; 0 when all members have their quota. */
  mostRoom(below: number): number {
    let most = 0
    for (const room of this.#room) if (room > most && room < below) most = room
    return most
  }

  owns(partition: number, member: MemberIndex): boolean {
    return this.#owns[partition * this.members.length + member] === 1
  }

  /** The partitions of which a member has a slot. */
  ownedBy(member: MemberIndex): number[] {
    const owned: number[] = []
    for (let partition = 0; partition < this.partitions; partition++) {
      if (this.owns(partition, member)) owned.push(partition)
    }
    return owned
  }

  /** How well a member suits a partition: the tie-break. */
  score(partition: number, member: MemberIndex): number {
    return scoreOf(partition, this.#hashes[member]!)
  }

  /** Whether `member` may have a slot of the partition that `leaving` (or nobody) gives up for it. */
  fits(partition: number, member: MemberIndex, leaving: MemberIndex): boolean {
    if (this.owns(partition, member)) return false
    const zone = this.#zoneOf[member]!
    if (leaving !== NOBODY && this.#zoneOf[leaving] === zone) return true
    return this.#zoneUse[partition * this.#zoneCaps.length + zone]! < this.#zoneCaps[zone]!
  }

  move({ partition, from, to }: SlotMove): void {
    if (from !== NOBODY) this.#set(partition, from, 0)
    this.#set(partition, to, 1)
  }

  /** The owners of each partition, in no particular order. */
  rows(): StoreId[][] {
    return Array.from({ length: this.partitions }, (_, partition) => {
      const row: StoreId[] = []
      for (let member = 0; member < this.members.length; member++) {
        if (this.owns(partition, member)) row.push(this.members[member]!.storeId)
      }
      return row
    })
  }

  /** Where a zone's cap forbids some, those go whose holders have the most beyond their quota. */
  #keep(partition: number, row: readonly MemberIndex[], excess: Int32Array): void {
    const sorted = [...row].sort((a, b) => excess[a]! - excess[b]! || a - b)
    for (const to of sorted) {
      if (this.holes(partition) > 0 && this.fits(partition, to, NOBODY)) this.move({ partition, from: NOBODY, to })
    }
  }

  #set(partition: number, member: MemberIndex, owned: 0 | 1): void {
    const at = partition * this.members.length + member
    assert(this.#owns[at] !== owned, 'a slot is given to who lacks it and taken from who has it')
    const step = owned === 1 ? 1 : -1
    this.#owns[at] = owned
    this.#room[member]! -= step
    this.#rowLengths[partition]! += step
    this.#zoneUse[partition * this.#zoneCaps.length + this.#zoneOf[member]!]! += step
  }
}
