import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { actorOf, type ClusterId, ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import { isPartitionCount } from '../model/partition.ts'
import type { Row, Topology, TopologyMember } from '../placement/topology.ts'
import type { Command, NewMember, RowBegin, RowRef } from './commands.ts'
import { Kinship } from './kinship.ts'
import {
  decodeCommand,
  MEMBERS_MAX,
  readCopies,
  readMember,
  readStatus,
  readStores,
  writeCopies,
  writeMember,
  writeStatus,
  writeStores
} from './wire.ts'

/** What became of rows when a command was applied. */
export interface RowEvent {
  readonly partition: number
  readonly event: 'begin' | 'end' | 'abort'
}

const ROWS_MAX = 4096
const TEXT_BYTES_MAX = 256

/**
 * The applied state of the meta group: members, rows, epoch. Deterministic; whoever applies the same entries has the same
 * state. Entries come from consensus on voters and as a delta from any member elsewhere; those at or below the epoch are
 * skipped, so both may feed the same state.
 */
export class MetaState {
  #epoch = 0
  #clusterId: ClusterId | undefined
  #name = ''
  #replicas = 0
  #members: ReadonlyMap<StoreId, TopologyMember> = new Map()
  #rows: readonly Row[] = []
  #topology: Topology | undefined
  #kinship = new Kinship()

  /** Index of the last applied entry. */
  get epoch(): number {
    return this.#epoch
  }

  /** The state as an immutable value; unchanged rows are shared between epochs. `undefined` before the founding. */
  get topology(): Topology | undefined {
    if (this.#clusterId === undefined) return undefined
    this.#topology ??= {
      clusterId: this.#clusterId,
      name: this.#name,
      epoch: this.#epoch,
      replicas: this.#replicas,
      members: this.#members,
      rows: this.#rows
    }
    return this.#topology
  }

  /** What the log says of other clusters of the name. */
  get kinship(): Kinship {
    return this.#kinship
  }

  /**
   * Applies an entry; one that does not fit the state does nothing but advance the epoch.
   *
   * @throws KilovoltError `KV_PROTOCOL` for a command that this version cannot read. The state stays as it was: to go on
   *   without an entry would be to part from all others.
   */
  apply(index: number, bytes: Uint8Array | undefined): readonly RowEvent[] {
    if (index <= this.#epoch) return []
    const command = bytes === undefined ? undefined : decodeCommand(bytes)
    this.#epoch = index
    this.#topology = undefined
    return command === undefined ? [] : this.#execute(command)
  }

  snapshot(): Uint8Array {
    const writer = new Writer(16_384).varint(this.#epoch).bool(this.#clusterId !== undefined)
    if (this.#clusterId === undefined) return writer.finish()
    this.#kinship.write(writer)
    writer.raw(idToBytes(this.#clusterId)).text(this.#name).varint(this.#replicas).varint(this.#members.size)
    for (const member of this.#members.values())
      writeStatus(writeMember(writer, member), member.status).varint(member.joinedEpoch)
    writer.varint(this.#rows.length)
    for (const { slots, rowEpoch, change } of this.#rows) {
      writeStores(writer, slots)
        .varint(rowEpoch)
        .bool(change !== undefined)
      if (change !== undefined) writeCopies(writeStores(writer, change.next), change.copies)
    }
    return writer.finish()
  }

  /**
   * Replaces the state, unless it is later already, or that of another cluster. Whether it was replaced.
   *
   * @throws KilovoltError `KV_PROTOCOL`; the state stays as it was
   */
  restore(snapshot: Uint8Array): boolean {
    const { epoch, founded } = readSnapshot(snapshot)
    if (epoch <= this.#epoch) return false
    if (founded !== undefined) {
      if (this.#clusterId !== undefined && this.#clusterId !== founded.clusterId) return false
      this.#clusterId = founded.clusterId
      this.#kinship = founded.kinship
      this.#name = founded.name
      this.#replicas = founded.replicas
      this.#members = founded.members
      this.#rows = founded.rows
    }
    this.#epoch = epoch
    this.#topology = undefined
    return true
  }

  #execute(command: Command): readonly RowEvent[] {
    // What was proposed before it was known that the log has ended.
    if (this.#kinship.dissolvedInto !== undefined) return []
    switch (command.kind) {
      case 'found':
        if (this.#clusterId === undefined && isPartitionCount(command.partitions) && command.replicas >= 1)
          this.#found(command)
        return []
      case 'refound':
        if (this.#clusterId === undefined) this.#refound(command)
        return []
      case 'addMember':
        this.#add(command.member)
        this.#kinship.cameOver(command.former)
        return []
      case 'updateMember':
        if (this.#isIn(command.member.storeId)) this.#add(command.member)
        return []
      case 'setStatus': {
        const member = this.#members.get(command.storeId)
        if (member !== undefined) this.#setMember({ ...member, status: command.status })
        return []
      }
      case 'removeMember':
        this.#remove(command.storeId)
        return []
      case 'changeBegin':
        return this.#begin(command.rows)
      case 'changeEnd':
        return this.#finish(command.rows, 'end')
      case 'changeAbort':
        return this.#finish(command.rows, 'abort')
      case 'absorb':
        if (command.cluster !== this.#clusterId) this.#absorb(command)
        return []
      case 'absorbCancel':
        for (const store of this.#kinship.cancel(command.cluster)) {
          if (this.#members.get(store)?.status === 'arriving') this.#remove(store)
        }
        return []
      case 'dissolve':
        if (this.#mayDissolve(command)) this.#kinship.dissolve(command.into)
        return []
    }
  }

  /** Its members are expected from here on: as long as one of them may bring something older, nothing is purged. */
  #absorb(command: Extract<Command, { kind: 'absorb' }>): void {
    this.#kinship.absorb(command)
    for (const member of command.members) {
      if (!this.#members.has(member.storeId) && this.#hasRoomFor(member))
        this.#setMember({ ...member, status: 'arriving', joinedEpoch: this.#epoch })
    }
  }

  /**
   * Not into itself, nor while a row changes: whom it belongs to is not settled then, and could not be any more. Nor when
   * somebody has joined since the other cluster was told whom to expect.
   */
  #mayDissolve({ into, epoch }: Extract<Command, { kind: 'dissolve' }>): boolean {
    return (
      into !== this.#clusterId &&
      this.#rows.every(({ change }) => change === undefined) &&
      [...this.#members.values()].every(({ joinedEpoch }) => joinedEpoch <= epoch)
    )
  }

  /** Members and owners stay as they were; what had begun to change has not. */
  #refound({ clusterId, foundedMs, state }: Extract<Command, { kind: 'refound' }>): void {
    const { founded } = readSnapshot(state)
    if (founded === undefined) return
    const { name, replicas, members, rows, kinship } = founded
    this.#clusterId = clusterId
    this.#name = name
    this.#replicas = replicas
    this.#kinship.foundedMs = foundedMs
    this.#kinship.descend(founded.clusterId, kinship)
    // Epochs of the other log say nothing in this one.
    this.#members = new Map([...members].map(([store, member]) => [store, { ...member, joinedEpoch: 0 }]))
    this.#rows = rows.map(({ slots }) => ({ slots, change: undefined, rowEpoch: this.#epoch }))
  }

  #found({ clusterId, name, partitions, replicas, foundedMs, member }: Extract<Command, { kind: 'found' }>): void {
    this.#clusterId = clusterId
    this.#name = name
    this.#replicas = replicas
    this.#kinship.foundedMs = foundedMs
    this.#setMember({ ...member, status: 'up', joinedEpoch: this.#epoch })
    const row: Row = { slots: [member.storeId], change: undefined, rowEpoch: this.#epoch }
    this.#rows = Array.from({ length: partitions }, () => row)
  }

  #add(member: NewMember): void {
    const known = this.#members.get(member.storeId)
    if (!this.#hasRoomFor(member)) return
    this.#setMember({ ...member, status: 'up', joinedEpoch: known?.joinedEpoch ?? this.#epoch })
  }

  #isIn(storeId: StoreId): boolean {
    const member = this.#members.get(storeId)
    return member !== undefined && member.status !== 'arriving'
  }

  #hasRoomFor({ storeId }: NewMember): boolean {
    // Two stores that would stamp under one name could give the same version to two values.
    const collides = [...this.#members.keys()].some(id => id !== storeId && actorOf(id) === actorOf(storeId))
    return !collides && (this.#members.has(storeId) || this.#members.size < MEMBERS_MAX)
  }

  #remove(storeId: StoreId): void {
    const owns = this.#rows.some(
      ({ slots, change }) => slots.includes(storeId) || change?.next.includes(storeId) === true
    )
    if (owns || !this.#members.has(storeId)) return
    const members = new Map(this.#members)
    members.delete(storeId)
    this.#members = members
  }

  #setMember(member: TopologyMember): void {
    this.#members = new Map(this.#members).set(member.storeId, member)
  }

  #begin(begins: readonly RowBegin[]): readonly RowEvent[] {
    const rows = [...this.#rows]
    const events: RowEvent[] = []
    for (const begin of begins) {
      const { partition, rowEpoch, next, copies } = begin
      const row = rows[partition]
      if (row === undefined || row.change !== undefined || row.rowEpoch !== rowEpoch || !this.#isLegal(row, begin))
        continue
      rows[partition] = { slots: row.slots, change: { next, copies }, rowEpoch: this.#epoch }
      events.push({ partition, event: 'begin' })
    }
    if (events.length > 0) this.#rows = rows
    return events
  }

  /** At most one slot changes at a time, to a member, no member twice in a row, and only old owners are copied from. */
  #isLegal({ slots }: Row, { next, copies }: RowBegin): boolean {
    const added = next.filter(id => !slots.includes(id))
    const removed = slots.filter(id => !next.includes(id))
    const distinct = new Set(next).size === next.length
    return (
      next.length > 0 &&
      distinct &&
      added.length <= 1 &&
      removed.length <= 1 &&
      added.every(id => this.#members.has(id)) &&
      copies.every(({ to, from }) => next.includes(to) && from.every(id => id !== to && slots.includes(id)))
    )
  }

  #finish(refs: readonly RowRef[], event: 'end' | 'abort'): readonly RowEvent[] {
    const rows = [...this.#rows]
    const events: RowEvent[] = []
    for (const { partition, rowEpoch } of refs) {
      const row = rows[partition]
      if (row?.change === undefined || row.rowEpoch !== rowEpoch) continue
      rows[partition] = {
        slots: event === 'end' ? row.change.next : row.slots,
        change: undefined,
        rowEpoch: this.#epoch
      }
      events.push({ partition, event })
    }
    if (events.length > 0) this.#rows = rows
    return events
  }
}

/** What a snapshot says. */
interface ReadSnapshot {
  readonly epoch: number
  readonly founded:
    (Pick<Topology, 'clusterId' | 'name' | 'replicas' | 'rows' | 'members'> & { readonly kinship: Kinship }) | undefined
}

function readSnapshot(snapshot: Uint8Array): ReadSnapshot {
  const reader = new Reader(snapshot)
  const epoch = reader.varint()
  if (!reader.bool()) return { epoch, founded: undefined }
  const kinship = Kinship.read(reader)
  const clusterId: ClusterId = idFromBytes(reader.raw(ID_BYTES))
  const name = reader.text(TEXT_BYTES_MAX)
  const replicas = reader.varint()
  const members = new Map<StoreId, TopologyMember>()
  for (let left = reader.count(MEMBERS_MAX); left > 0; left--) {
    const member: TopologyMember = { ...readMember(reader), status: readStatus(reader), joinedEpoch: reader.varint() }
    members.set(member.storeId, member)
  }
  const rows: Row[] = []
  for (let left = reader.count(ROWS_MAX); left > 0; left--) {
    const slots = readStores(reader)
    const rowEpoch = reader.varint()
    const change = reader.bool() ? { next: readStores(reader), copies: readCopies(reader) } : undefined
    rows.push({ slots, rowEpoch, change })
  }
  if (!isPartitionCount(rows.length)) throw new KilovoltError('KV_PROTOCOL', `a snapshot of ${rows.length} partitions`)
  return { epoch, founded: { clusterId, name, replicas, members, rows, kinship } }
}
