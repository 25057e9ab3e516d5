import type { StoreId } from '../model/node-id.ts'
import { claim, type ClaimInput } from './claim.ts'

type Rows = readonly (readonly StoreId[])[]

/**
 * The result of the last claim, for as long as it holds: while the rows go from what they were to what was claimed, one after
 * the other, and the members stay as they are, to claim again would give the same. A claim takes milliseconds, which requests
 * that wait for the leader's event loop feel; with many members it takes many.
 */
export class ClaimedTarget {
  #input: ClaimInput | undefined
  #target: Rows = []

  /** What {@link claim} gives, or what it gave when the rows were on their way there. */
  of(input: ClaimInput): Rows {
    if (this.#input === undefined || !this.#isOnTheWay(this.#input, input)) {
      this.#target = claim(input)
      this.#input = input
    }
    return this.#target
  }

  #isOnTheWay(from: ClaimInput, { current, members, partitions, replicas }: ClaimInput): boolean {
    if (partitions !== from.partitions || replicas !== from.replicas || members.length !== from.members.length)
      return false
    const before = new Map(from.members.map(member => [member.storeId, member]))
    const isSame = members.every(({ storeId, weight, zone }) => {
      const then = before.get(storeId)
      return then !== undefined && then.weight === weight && then.zone === zone
    })
    if (!isSame || current === undefined) return false
    return current.every((row, i) => isEqual(row, this.#target[i]) || isEqual(row, from.current?.[i]))
  }
}

function isEqual(a: readonly StoreId[], b: readonly StoreId[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((store, i) => store === b[i])
}
