import { equalBytes } from '../base/bytes.ts'
import { covers, NOTHING_SEEN } from '../model/causality.ts'
import { compareRecordStamps, hasEitherSiblings, hasSiblings, type RecordBytes, restamp } from '../model/record.ts'
import { nameOf, type Sibling, type SiblingSet } from '../model/sibling-form.ts'
import { siblingsOf } from '../model/sibling-set.ts'
import { compareStamps } from '../model/stamp.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { Coordination } from './coordination.ts'
import { GetOperation } from './get-operation.ts'
import type { OperationOptions } from './operation.ts'
import { PutOperation } from './put-operation.ts'
import type { SiblingWrites } from './sibling-writes.ts'

/** Brings the records of another cluster to the present owners. */
export class Bringing {
  readonly #shared: Coordination
  readonly #siblings: SiblingWrites

  constructor(shared: Coordination, siblings: SiblingWrites) {
    this.#shared = shared
    this.#siblings = siblings
  }

  /**
   * Gives the owners a record of another cluster that this node was in, unless they have something at least as new
   * (rule G4). A deletion too: somebody may still bring an older value. Nothing that is written at the same time, or was
   * written since, loses to it: what is too old to be taken gets the earliest stamp that is. Idempotent.
   *
   * @throws KilovoltError as `Coordinator.put`; it can be tried again
   */
  async bring(place: RecordKey, record: RecordBytes): Promise<void> {
    const { deps, track, options: optionsOf, repair } = this.#shared
    const options = optionsOf({ requirement: 'quorum', timeoutMs: undefined, signal: undefined })
    const held = await track(new GetOperation(deps, place, options, repair, false))
    const isForSiblings = held === undefined ? hasSiblings(record) : hasEitherSiblings(held, record)
    if (isForSiblings) return this.#bringSiblings(place, siblingsOf(record), held && siblingsOf(held), options)
    if (held !== undefined && compareRecordStamps(held, record) >= 0) return
    const { rules, stamps } = deps
    const aged = rules.keepAge ? record : restamp(record, await stamps.next())
    await track(new PutOperation(deps, place, aged, options, 'brought'))
  }

  /**
   * Siblings become siblings of what is there: each is minted anew, with its old dot as what was seen, so that whoever brings it
   * too finds that it was brought already. The oldest first, as a dot stands for those before it. What a base says was seen in
   * one cluster says nothing of the other.
   */
  async #bringSiblings(
    place: RecordKey,
    brought: SiblingSet,
    held: SiblingSet | undefined,
    options: OperationOptions
  ): Promise<void> {
    const { clock } = this.#shared.deps
    for (const sibling of brought.siblings) {
      const { dot, value, packed, expiresAt } = sibling
      const ttl = expiresAt === undefined ? undefined : expiresAt - clock.wallMs()
      if ((ttl !== undefined && ttl < 1) || isThere(sibling, held)) continue
      const context = { base: undefined, seen: new Map([[dot.actor, dot.hlc]]) }
      await this.#siblings.mintAt(
        place,
        { value, packed, context, id: nameOf(dot), brought: true },
        { ...options, ttl }
      )
    }
    const seen = { ...NOTHING_SEEN, seen: brought.seen }
    const isReplaced = ({ dot }: Sibling): boolean =>
      covers(seen, dot) && !brought.siblings.some(other => compareStamps(other.dot, dot) === 0)
    if (held?.siblings.some(isReplaced) !== true) return
    await this.#siblings.mintAt(
      place,
      { value: undefined, context: seen, brought: true },
      { ...options, ttl: undefined }
    )
  }
}

/** Whether a sibling was brought before, or is there anyway. */
function isThere({ dot, value, packed }: Sibling, held: SiblingSet | undefined): boolean {
  if (held === undefined) return false
  if ((held.seen.get(dot.actor) ?? -1) >= dot.hlc) return true
  return held.siblings.some(other => other.packed === packed && equalBytes(other.value, value))
}
