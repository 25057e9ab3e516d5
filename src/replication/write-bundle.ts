import type { KilovoltError } from '../base/errors.ts'
import { isTombstone, type RecordBytes } from '../model/record.ts'
import type { KeyedRecord, RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { Bundle, type BundleOptions } from './bundle.ts'
import { decodeWriteAnswers, encodePuts, type WriteAnswer, writeAnswerOf } from './bundle-wire.ts'
import type { Waiter } from './gather.ts'
import { Item } from './item.ts'
import type { OperationDeps } from './operation.ts'
import { mergedRest, unitBytes, type UnitResult } from './units.ts'
import type { PutRequest } from './wire.ts'
import { ROOM_FROM_BYTES, type WriteRoom } from './write-room.ts'

/** What a write found: whether some acknowledging replica held a live value before; of the rest of a unit 1 or 0 for each. */
export type Stored = UnitResult

const STORED: Stored = { existed: false }
const STORED_OVER: Stored = { existed: true }

/** One write of a bundle, or one unit, and the request of it. */
class Write extends Item<Stored> implements PutRequest {
  readonly record: RecordBytes
  readonly exempt: boolean
  readonly repair = false
  readonly rest: readonly KeyedRecord[] | undefined
  existed = false
  restExisted: Uint8Array | undefined = undefined
  /** Some replica wants a stamp later than this. */
  behind: number | undefined = undefined

  constructor(
    place: RecordKey,
    record: RecordBytes,
    rest: readonly KeyedRecord[] | undefined,
    exempt: boolean,
    ...waiter: [Waiter<Stored>, number]
  ) {
    super(place, ...waiter)
    this.record = record
    this.rest = rest
    this.exempt = exempt
  }
}

/** A write that goes on by itself. */
export interface LoneWrite {
  readonly place: RecordKey
  readonly record: RecordBytes
  /** The rest of its unit. */
  readonly rest: readonly KeyedRecord[] | undefined
  readonly timeoutMs: number
  /** Some replica may have this record already. */
  readonly isRepeat: boolean
  /** Some replica wants a stamp later than this. */
  readonly behind: number | undefined
}

/** What a bundle of writes is made for. */
export interface WriteBundleOptions extends BundleOptions {
  readonly room: WriteRoom
  /** Whether the call that it is made for holds all of it in memory anyway. */
  readonly isHeld: boolean
  readonly writeAlone: (write: LoneWrite) => Promise<Stored>
}

/**
 * Writes that go together. One is done here when as many replicas as it needs have stored it. One for which some replica
 * wants a later stamp goes on by itself, with such a stamp.
 */
export class WriteBundle extends Bundle<Write, Stored, WriteAnswer> {
  protected readonly what = 'write'
  protected readonly type: MessageType = MessageType.PUTS
  protected readonly isSparing = false
  readonly #options: WriteBundleOptions
  #leaveRoom: (() => void) | undefined
  /** Writes of it that have gone on by themselves, and have not ended. */
  #alone = 0
  #isSettled = false
  #wait: { cancel(error: KilovoltError): void } | undefined

  constructor(deps: OperationDeps, options: WriteBundleOptions) {
    super(deps, options)
    this.#options = options
  }

  /** Takes a write in, or a unit; the waiter is told of it by this number. */
  add(
    place: RecordKey,
    record: RecordBytes,
    waiter: Waiter<Stored>,
    index: number,
    rest?: readonly KeyedRecord[]
  ): void {
    const write = new Write(place, record, rest, this.requirement === 'one', waiter, index)
    this.enter(write, unitBytes(place.key, record, rest))
  }

  /** A large one waits for its turn. */
  override start(): void {
    if (this.bytes <= ROOM_FROM_BYTES) return super.start()
    const { room, timeoutMs, isHeld } = this.#options
    this.#wait = room.enter({
      bytes: this.bytes,
      timeoutMs,
      isHeld,
      go: (leftMs, leave) => {
        this.#leaveRoom = leave
        super.start(leftMs)
      },
      refused: error => super.cancel(error)
    })
  }

  override cancel(error: KilovoltError): void {
    this.#wait?.cancel(error)
    super.cancel(error)
  }

  /** What goes on by itself, as where a row changes, is under way still: it has begun when this turn is over. */
  protected override onSettled(): void {
    if (this.#leaveRoom === undefined) return
    this.deps.clock.soon(() => {
      this.#isSettled = true
      this.#leaveIfOver()
    })
  }

  #leaveIfOver(): void {
    if (!this.#isSettled || this.#alone > 0) return
    this.#leaveRoom?.()
    this.#leaveRoom = undefined
  }

  protected encode(items: readonly Write[]): Uint8Array {
    return encodePuts(items, this.requirement === 'one')
  }

  protected decode(body: Uint8Array, items: readonly Write[]): readonly WriteAnswer[] {
    return decodeWriteAnswers(body, items.length)
  }

  protected answerHere(
    items: readonly Write[],
    epoch: number,
    done: (error: KilovoltError | undefined, answers: readonly WriteAnswer[] | undefined) => void
  ): void {
    this.deps.replica.putMany(items, epoch, (error, replies) => done(error, replies?.map(writeAnswerOf)))
  }

  protected onAnswer(item: Write, at: number, answer: WriteAnswer): void {
    switch (answer.kind) {
      case 'stored':
        item.existed ||= answer.existed
        if (item.rest !== undefined) item.restExisted = mergedRest(item.restExisted, answer.rest)
        return this.#acknowledged(item, at)
      case 'behind':
        if (item.state !== 'running') return
        // At `one` nothing is promised: there something newer is as good.
        if (answer.existed && this.requirement === 'one') {
          // Whether that is a value, which a deletion is to tell, is not said here.
          if (isTombstone(item.record)) return this.alone(item)
          item.existed = true
          return this.#acknowledged(item, at)
        }
        item.behind = answer.hlc
        return this.alone(item)
      case 'fenced':
        this.spare(item, at)
        return this.miss(item, at, false)
      case 'refused':
        this.spare(item, at)
        return this.miss(item, at, true)
      case 'failed':
        return this.miss(item, at, true)
    }
  }

  /** Who could not be given what was acknowledged is given it later. */
  protected onMiss(item: Write, at: number, isFailure: boolean): void {
    if (isFailure && item.state === 'done') this.#keepFor(item, at)
  }

  /** What was met before counts on: a first attempt may have taken the place of a value, which the second does not see. */
  protected async goOn(item: Write, timeoutMs: number): Promise<Stored> {
    const { record, rest, asked, behind } = item
    this.#alone++
    const isRepeat = asked !== 0
    let found: Stored
    try {
      found = await this.#options.writeAlone({ place: item, record, rest, timeoutMs, isRepeat, behind })
    } finally {
      this.#alone--
      this.#leaveIfOver()
    }
    item.existed ||= found.existed
    if (rest !== undefined) item.restExisted = mergedRest(item.restExisted, found.rest)
    return resultOf(item)
  }

  #acknowledged(item: Write, at: number): void {
    if (!this.agree(item, at) || item.state !== 'running') return
    for (let i = 0; i < item.route!.replicas.length; i++) {
      if (((item.missed >> i) & 1) === 1) this.#keepFor(item, i)
    }
    this.succeed(item, resultOf(item))
  }

  #keepFor(item: Write, at: number): void {
    this.deps.keepFor(item.route!.replicas[at]!, item, item.record, undefined, item.rest)
  }
}

function resultOf({ existed, restExisted }: Write): Stored {
  if (restExisted !== undefined) return { existed, rest: restExisted }
  return existed ? STORED_OVER : STORED
}
