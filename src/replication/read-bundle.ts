import type { KilovoltError } from '../base/errors.ts'
import { compareRecords, hasSiblings, type RecordBytes } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { holds, type Repair } from './get-operation.ts'
import { Bundle, type BundleOptions } from './bundle.ts'
import { decodeReadAnswers, encodeGets, type ReadAnswer } from './bundle-wire.ts'
import type { Waiter } from './gather.ts'
import { Item } from './item.ts'
import type { OperationDeps } from './operation.ts'
import type { GetRequest } from './wire.ts'

type Found = RecordBytes | undefined

/** One read of a bundle, and the request of it. */
class Read extends Item<Found> implements GetRequest {
  readonly exempt = false
  /** Nothing is known when this node's copy is asked; what that holds goes to the others with {@link Read.own}. */
  readonly known = undefined
  /** What all have said that have answered so far; `undefined` for nothing. */
  found: Found
  /** What this node holds itself, once that is known. */
  own: Found
}

/** What a bundle of reads is made for. */
export interface ReadBundleOptions extends BundleOptions {
  readonly repair: Repair
  /** What of a record a reader sees. */
  readonly visible: (found: Found) => Found
  /** Does one read by itself. */
  readonly readAlone: (place: RecordKey, timeoutMs: number) => Promise<Found>
}

/**
 * Reads that go together. As many replicas are asked as are needed, others when those are slow. A read is done here when they
 * say the same: there is nothing to mend before the answer then. A replica that answers later and is behind is mended in the
 * background.
 */
export class ReadBundle extends Bundle<Read, Found, ReadAnswer> {
  protected readonly what = 'read'
  protected readonly type: MessageType = MessageType.GETS
  protected readonly isSparing = true
  readonly #options: ReadBundleOptions

  constructor(deps: OperationDeps, options: ReadBundleOptions) {
    super(deps, options)
    this.#options = options
  }

  /** Takes a read in; the waiter is told of it by this number. */
  add(place: RecordKey, waiter: Waiter<Found>, index: number): void {
    this.enter(new Read(place, waiter, index), place.key.length)
  }

  protected encode(items: readonly Read[]): Uint8Array {
    return encodeGets(items)
  }

  protected decode(body: Uint8Array, items: readonly Read[]): readonly ReadAnswer[] {
    return decodeReadAnswers(body, items.length)
  }

  protected answerHere(
    items: readonly Read[],
    epoch: number,
    done: (error: KilovoltError | undefined, answers: readonly ReadAnswer[] | undefined) => void
  ): void {
    this.deps.replica.getMany(items, epoch, (error, answers) => {
      if (answers !== undefined) noteOwn(items, answers)
      done(error, answers)
    })
  }

  protected onAnswer(item: Read, at: number, answer: ReadAnswer): void {
    if (answer === undefined || answer.kind === 'fenced') return this.miss(item, at, false)
    // The same as what? Nobody was told of anything.
    if (answer.kind === 'same' && item.own === undefined) return this.miss(item, at, false)
    const record = answer.kind === 'same' ? item.own : answer.kind === 'record' ? answer.record : undefined
    if (item.state !== 'running') return this.#onLate(item, at, record)
    if (item.had > 0 && !isSame(item.found, record)) return this.alone(item)
    item.found = record
    if (this.agree(item, at)) this.succeed(item, this.#options.visible(record))
  }

  /** Others were not asked yet. */
  protected onMiss(item: Read): void {
    this.alone(item)
  }

  protected goOn(item: Read, timeoutMs: number): Promise<Found> {
    return this.#options.readAlone(item, timeoutMs)
  }

  /** Whoever answers when the level is met already, and is behind, is mended. */
  #onLate(item: Read, at: number, record: Found): void {
    const { route, found, state } = item
    if (state !== 'done' || found === undefined || holds(record, found)) return
    const epoch = this.deps.routes()?.topology.epoch ?? 0
    this.#options.repair(item, route!.replicas[at]!, found, epoch, this.remainingMs, () => {})
  }
}

/** What this node holds goes to the others by its stamp. */
function noteOwn(items: readonly Read[], answers: readonly ReadAnswer[]): void {
  for (let i = 0; i < items.length; i++) {
    const answer = answers[i]
    // Of siblings the stamp does not tell all.
    if (answer?.kind === 'record' && !hasSiblings(answer.record)) items[i]!.own = answer.record
  }
}

function isSame(a: Found, b: Found): boolean {
  return a === b || (a !== undefined && b !== undefined && compareRecords(a, b) === 0)
}
