import type { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import { Tally } from '../model/quorum.ts'
import {
  hasEitherSiblings,
  compareRecords,
  hasSiblings,
  newest,
  type RecordBytes,
  STAMP_END,
  STAMP_START
} from '../model/record.ts'
import { holdsAll, joinRecords, unsettled } from '../model/sibling-set.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import { Operation, type OperationDeps, type OperationOptions } from './operation.ts'
import { decodeGetReply, encodeGet, type Fenced, type GetReply, type GetRequest } from './wire.ts'

/** What became of a repair: whether the replica holds the record, or something newer, now; or the epoch that fenced it. */
export type RepairOutcome = boolean | Fenced

/** Offers a record to one replica of its row. */
export type Repair = (
  key: RecordKey,
  store: StoreId,
  record: RecordBytes,
  epoch: number,
  timeoutMs: number,
  done: (outcome: RepairOutcome) => void
) => void

/**
 * One read; what it finds is the newest record, tombstones included. As many replicas are asked as the level needs, others
 * when those fail or are slow; when the level is met the newest record wins; siblings are
 * joined. If some of those that answered are behind, the read first sees to it that a quorum holds what it is going to return (blocking read repair): otherwise a
 * later read, through another quorum, could return something older. Replicas that hold it already count, so that a slow
 * or failing one delays nothing as long as a quorum is there. A replica that answers later is mended in the background.
 *
 * At `one`, and with an explicit number of copies below a majority, nothing of the kind is promised and nobody waits.
 */
export class GetOperation extends Operation<GetReply, RecordBytes | undefined> {
  protected readonly what = 'read'
  protected readonly type: MessageType = MessageType.GET
  /** As many as the level needs; all while the row changes, when more than one set counts. */
  protected get atOnce(): number {
    return this.route.isSteady || this.requirement === 'one' ? this.tally.needed[0]! : Infinity
  }

  readonly #repair: Repair
  readonly #blocking: boolean
  /** Who has answered, and what each of them holds. */
  #answered: StoreId[] = []
  #held: (RecordBytes | undefined)[] = []
  /** Greatest horizon of the owners who hold nothing: whatever lies at or below it was overwritten, though another still has it. */
  #horizon = 0
  /** The newest record of those that made up the level, for who answers later; not when all were offered it anyway. */
  #winner: RecordBytes | undefined
  #won = false

  /** @param blocking - whether a quorum must hold the answer before it is given */
  constructor(deps: OperationDeps, key: RecordKey, options: OperationOptions, repair: Repair, blocking: boolean) {
    super(deps, key, options)
    this.#repair = repair
    this.#blocking = blocking
  }

  protected override phase(): void {
    if (this.#answered.length > 0) {
      this.#answered = []
      this.#held = []
    }
    this.#won = false
    this.#horizon = 0
    super.phase()
  }

  protected encode(): Uint8Array {
    // The local copy is asked first and answers at once where the database reads synchronously; then its stamp travels,
    // and replicas that have nothing newer answer in a byte.
    const own = this.#own
    // Of siblings the stamp does not tell all.
    return encodeGet(
      this.#request(own === undefined || hasSiblings(own) ? undefined : own.subarray(STAMP_START, STAMP_END))
    )
  }

  protected decode(body: Uint8Array): GetReply {
    return decodeGetReply(body)
  }

  protected askSelf(done: (error: KilovoltError | undefined, reply: GetReply | undefined) => void): void {
    this.deps.replica.get(this.#request(undefined), this.epoch, done)
  }

  protected onReply(store: StoreId, reply: GetReply): void {
    if (reply.kind === 'fenced') {
      if (reply.epoch > this.epoch) this.refresh(reply.epoch)
      else this.no(store, 'fenced', false)
      return
    }
    if (this.#won) return
    this.#held.push(this.#recordIn(reply))
    // Who is only about to own the partition has its horizon before it has its records.
    if (reply.kind === 'none' && this.route.row.slots.includes(store))
      this.#horizon = Math.max(this.#horizon, reply.horizon)
    this.#answered.push(store)
    if (this.yes(store)) this.#decide()
  }

  /** Whoever answers when the level is met already is mended in the background. */
  protected override onLate(store: StoreId, outcome: Outcome): void {
    if (this.#winner === undefined || outcome.kind !== 'reply') return
    let reply: GetReply
    try {
      reply = this.decode(outcome.body)
    } catch {
      return
    }
    if (reply.kind !== 'fenced' && !holds(this.#recordIn(reply), this.#winner))
      this.#mend(store, this.#winner, () => {})
  }

  #recordIn(reply: Exclude<GetReply, Fenced>): RecordBytes | undefined {
    return reply.kind === 'record' ? reply.record : reply.kind === 'same' ? this.#own : undefined
  }

  get #own(): RecordBytes | undefined {
    const at = this.#answered.indexOf(this.deps.self)
    return at === -1 ? undefined : this.#held[at]
  }

  #request(known: Uint8Array | undefined): GetRequest {
    const { partition, keyspace, key } = this.key
    return { partition, keyspace, key, exempt: this.requirement === 'one', known }
  }

  #decide(): void {
    this.#won = true
    let winner: RecordBytes | undefined
    for (const record of this.#held) {
      const left = record && unsettled(record, this.#horizon)
      if (left === undefined) continue
      winner =
        winner === undefined ? left : this.deps.rules.joinSiblings ? joinRecords(winner, left) : newest(winner, left)!
    }
    if (winner === undefined) return this.succeed(undefined)
    if (this.#held.every(record => record === winner || holds(record, winner))) {
      this.#winner = winner
      return this.succeed(winner)
    }
    if (this.#blocking && this.deps.rules.mendBeforeAnswer) return this.#secure(winner)
    this.#winner = winner
    for (const [i, store] of this.#answered.entries()) {
      if (!holds(this.#held[i], winner)) this.#mend(store, winner, () => {})
    }
    this.succeed(winner)
  }

  /** Waits until a quorum of each set holds the winner, counting those that do already. */
  #secure(winner: RecordBytes): void {
    const level = this.requirement === 'all' ? 'all' : 'quorum'
    const tally = new Tally(this.route.sets, level)
    let isOver = false
    const count = (store: StoreId, outcome: RepairOutcome): void => {
      if (isOver) return
      // The row has changed since the read began: what its new owners hold must be read again.
      if (typeof outcome === 'object' && outcome.epoch > this.epoch) {
        isOver = true
        return this.refresh(outcome.epoch)
      }
      if (outcome !== true) this.note(store, 'unmended')
      const state = outcome === true ? tally.yes(store) : tally.no(store)
      isOver = state !== 'pending'
      if (state === 'won') this.succeed(winner)
      else if (state === 'lost') this.outOfReach()
    }
    for (const store of this.route.replicas) {
      const at = this.#answered.indexOf(store)
      if (at !== -1 && holds(this.#held[at], winner)) count(store, true)
      else this.#mend(store, winner, outcome => count(store, outcome))
    }
  }

  #mend(store: StoreId, winner: RecordBytes, done: (outcome: RepairOutcome) => void): void {
    this.#repair(this.key, store, winner, this.epoch, this.remainingMs, done)
  }
}

/** Whether a winner has nothing to add to a record. */
export function holds(record: RecordBytes | undefined, winner: RecordBytes): boolean {
  if (record === undefined) return false
  return hasEitherSiblings(record, winner) ? holdsAll(record, winner) : compareRecords(record, winner) >= 0
}
