import type { KilovoltError } from '../base/errors.ts'
import type { RecordBytes } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { Bundle, type BundleOptions, Item } from './bundle.ts'
import { decodeWriteAnswers, encodePuts, type WriteAnswer, writeAnswerOf } from './bundle-wire.ts'
import type { OperationDeps } from './operation.ts'
import type { PutResult } from './put-operation.ts'
import type { PutRequest } from './wire.ts'

/** One write of a bundle. */
class Write extends Item<PutResult> {
  readonly record: RecordBytes
  existed = false
  /** Some replica wants a later stamp. */
  isBehind = false

  constructor(place: RecordKey, record: RecordBytes) {
    super(place)
    this.record = record
  }
}

/** A write that goes on by itself. */
export interface LoneWrite {
  readonly place: RecordKey
  readonly record: RecordBytes
  readonly timeoutMs: number
  /** Some replica may have this record already. */
  readonly isRepeat: boolean
  /** Some replica wants a later stamp. */
  readonly isBehind: boolean
}

/** What a bundle of writes is made for. */
export interface WriteBundleOptions extends BundleOptions {
  readonly writeAlone: (write: LoneWrite) => Promise<PutResult>
}

/**
 * Writes that go together. One is done here when as many replicas as it needs have stored it. One for which some replica
 * wants a later stamp goes on by itself, with such a stamp.
 */
export class WriteBundle extends Bundle<Write, PutResult, WriteAnswer> {
  protected readonly what = 'write'
  protected readonly type: MessageType = MessageType.PUTS
  readonly #options: WriteBundleOptions

  constructor(deps: OperationDeps, options: WriteBundleOptions) {
    super(deps, options)
    this.#options = options
  }

  add(place: RecordKey, record: RecordBytes): Promise<PutResult> {
    return this.enter(new Write(place, record), place.key.length + record.length)
  }

  protected encode(items: readonly Write[]): Uint8Array {
    return encodePuts(this.#requests(items), this.requirement === 'one')
  }

  protected decode(body: Uint8Array, items: readonly Write[]): readonly WriteAnswer[] {
    return decodeWriteAnswers(body, items.length)
  }

  protected answerHere(
    items: readonly Write[],
    epoch: number,
    done: (error: KilovoltError | undefined, answers: readonly WriteAnswer[] | undefined) => void
  ): void {
    this.deps.replica.putMany(this.#requests(items), epoch, (error, replies) =>
      done(error, replies?.map(writeAnswerOf))
    )
  }

  protected onAnswer(item: Write, at: number, answer: WriteAnswer): void {
    switch (answer.kind) {
      case 'stored':
        item.existed ||= answer.existed
        return this.#acknowledged(item, at)
      case 'behind':
        if (item.state !== 'running') return
        // At `one` nothing is promised: there something newer is as good.
        if (answer.existed && this.requirement === 'one') {
          item.existed = true
          return this.#acknowledged(item, at)
        }
        this.deps.stamps.observe(answer.hlc)
        item.isBehind = true
        return this.alone(item)
      case 'fenced':
        this.spare(item, at)
        return this.miss(item, at, false)
      case 'failed':
        this.spare(item, at)
        return this.miss(item, at, true)
    }
  }

  /** Who could not be given what was acknowledged is given it later. */
  protected onMiss(item: Write, at: number, isFailure: boolean): void {
    if (isFailure && item.state === 'done') this.#keepFor(item, at)
  }

  /** What was met before counts on: a first attempt may have taken the place of a value, which the second does not see. */
  protected async goOn(item: Write, timeoutMs: number): Promise<PutResult> {
    const { place, record, asked, isBehind } = item
    const { writeAlone } = this.#options
    const { existed, restamps } = await writeAlone({ place, record, timeoutMs, isRepeat: asked !== 0, isBehind })
    return { existed: existed || item.existed, restamps: restamps + (isBehind ? 1 : 0) }
  }

  #acknowledged(item: Write, at: number): void {
    if (!this.agree(item, at) || item.state !== 'running') return
    for (let i = 0; i < item.route!.replicas.length; i++) {
      if (((item.missed >> i) & 1) === 1) this.#keepFor(item, i)
    }
    this.succeed(item, { existed: item.existed, restamps: 0 })
  }

  #keepFor({ place, route, record }: Write, at: number): void {
    this.deps.keepFor(route!.replicas[at]!, place, record)
  }

  #requests(items: readonly Write[]): PutRequest[] {
    const exempt = this.requirement === 'one'
    return items.map(({ place: { partition, keyspace, key }, record }) => ({
      partition,
      keyspace,
      key,
      record,
      exempt,
      repair: false
    }))
  }
}
