import { compareRecords, type RecordBytes, STAMP_END, STAMP_START } from '../model/record.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Repair } from './get-operation.ts'
import { Bundle, type BundleOptions, Item } from './bundle.ts'
import { decodeReadAnswers, encodeGets, type ReadAnswer } from './bundle-wire.ts'
import type { OperationDeps } from './operation.ts'
import type { GetRequest } from './wire.ts'

type Found = RecordBytes | undefined

/** One read of a bundle. */
class Read extends Item<Found> {
  /** What all have said that have answered so far; `undefined` for nothing. */
  found: Found
  /** What this node holds itself, once that is known. */
  own: Found
}

/** What a bundle of reads is made for. */
export interface ReadBundleOptions extends BundleOptions {
  readonly repair: Repair
  /** Does one read by itself. */
  readonly readAlone: (place: RecordKey, timeoutMs: number) => Promise<Found>
}

/**
 * Reads that go together. One is done here when as many replicas as it needs say the same: there is nothing to mend before
 * the answer then. A replica that answers later and is behind is mended in the background.
 */
export class ReadBundle extends Bundle<Read, Found, ReadAnswer> {
  protected readonly what = 'read'
  protected readonly type: MessageType = MessageType.GETS
  readonly #options: ReadBundleOptions

  constructor(deps: OperationDeps, options: ReadBundleOptions) {
    super(deps, options)
    this.#options = options
  }

  add(place: RecordKey): Promise<Found> {
    return this.enter(new Read(place), place.key.length)
  }

  protected encode(items: readonly Read[]): Uint8Array {
    return encodeGets(items.map(item => requestOf(item, item.own?.subarray(STAMP_START, STAMP_END))))
  }

  protected decode(body: Uint8Array, items: readonly Read[]): readonly ReadAnswer[] {
    return decodeReadAnswers(body, items.length)
  }

  protected answerHere(
    items: readonly Read[],
    epoch: number,
    done: (error: KilovoltError | undefined, answers: readonly ReadAnswer[] | undefined) => void
  ): void {
    const requests = items.map(item => requestOf(item, undefined))
    this.deps.replica.getMany(requests, epoch, (error, answers) => {
      for (const [i, answer] of answers?.entries() ?? []) {
        if (answer?.kind === 'record') items[i]!.own = answer.record
      }
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
    if (this.agree(item, at)) this.succeed(item, record)
  }

  protected onMiss(): void {}

  protected goOn({ place }: Read, timeoutMs: number): Promise<Found> {
    return this.#options.readAlone(place, timeoutMs)
  }

  /** Whoever answers when the level is met already, and is behind, is mended. */
  #onLate({ place, route, found, state }: Read, at: number, record: Found): void {
    if (state !== 'done' || found === undefined || (record !== undefined && compareRecords(record, found) >= 0)) return
    const epoch = this.deps.routes()?.topology.epoch ?? 0
    this.#options.repair(place, route!.replicas[at]!, found, epoch, this.remainingMs, () => {})
  }
}

function requestOf({ place: { partition, keyspace, key } }: Read, known: Uint8Array | undefined): GetRequest {
  return { partition, keyspace, key, exempt: false, known }
}

function isSame(a: Found, b: Found): boolean {
  return a === b || (a !== undefined && b !== undefined && compareRecords(a, b) === 0)
}
