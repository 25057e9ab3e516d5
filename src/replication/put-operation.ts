import type { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import { hlcToMs } from '../model/hlc.ts'
import { isLive, recordHlc, recordStamp, type RecordBytes, restamp, restampWrite } from '../model/record.ts'
import type { Stamp } from '../model/stamp.ts'
import { MessageType } from '../transport/message-type.ts'
import { Tally } from '../model/quorum.ts'
import { Operation, type OperationDeps, type OperationOptions } from './operation.ts'
import { mergedRest, restampRest } from './units.ts'
import { decodePutReply, encodePut, type PutReply, type PutRequest } from './wire.ts'
import type { KeyedRecord, RecordKey } from '../storage/record-store.ts'
import { ANY_OWNER } from '../storage/hint-store.ts'
import type { Outcome } from '../transport/transport.ts'

/** What a write found. */
export interface PutResult {
  /** Whether some acknowledging replica held a live value before. */
  readonly existed: boolean
  /** The same of the rest of a unit: 1 or 0 for each. */
  readonly rest?: Uint8Array | undefined
  readonly restamps: number
  /** The record as it was stamped last. */
  readonly record: RecordBytes
  /** Whether some replica held something newer, which it has kept. */
  readonly isOutrun: boolean
}

/**
 * `write`: what the app asks for. `any`: the same, and a hint on this node counts as an acknowledgement when no owner can be
 * had. `brought`: a record of another cluster that this node was in: it keeps its stamp, or gets the earliest that is still
 * taken, so that nothing that was written since loses to it. `extended`: what a quorum holds, with another expiry, stamped right
 * after that; otherwise as `brought`. `minted`: what an owner has minted and stored already: nothing is stamped any more.
 */
export type PutKind = 'write' | 'any' | 'brought' | 'extended' | 'minted'

/** Who has minted a record, and holds it. */
export interface Holder {
  readonly store: StoreId
  /** In which epoch. */
  readonly epoch: number
}

/** Times a write may be stamped again. */
const RESTAMPS_MAX = 5

/**
 * One write, or one unit of them. The re-stamp rule: a replica that holds something newer says so; a coordinator that hears it before the
 * level is met stamps again, later than that, and sends anew. So an acknowledged quorum write never loses to one that
 * was acknowledged before it, whatever the clocks say. At `one` a stale answer counts: there nothing is promised.
 *
 * It counts as well once a quorum has shown what it holds since the write began, and the stamp is later than all of that: what
 * was acknowledged before is among it, so that what is newer yet was written at the same time, and may be the later one of the two.
 * A key that many write is so written in three rounds at most (the two phases of a write in multi-writer ABD, Lynch and Shvartsman
 * 1997, of which the first is spared where nobody else writes).
 */
export class PutOperation extends Operation<PutReply, PutResult> {
  protected readonly what = 'write'
  protected readonly type: MessageType = MessageType.PUT
  protected readonly atOnce: number = Infinity
  readonly #kind: PutKind
  readonly #keepsExpiry: boolean
  readonly #holder: Holder | undefined
  #record: RecordBytes
  /** The rest of its unit. */
  #rest: readonly KeyedRecord[] | undefined
  #isKeeping = false
  #isAcknowledged = false
  #existed = false
  #isOutrun = false
  #restExisted: Uint8Array | undefined
  #restamps = 0
  /** Who has shown what it holds since this write began, in this epoch. */
  #shown: { readonly epoch: number; readonly tally: Tally } | undefined
  /** The latest of it, hybrid time. */
  #shownHlc = 0
  /** In which epoch the stamp is later than what a quorum has shown. */
  #latestIn: number | undefined

  constructor(
    deps: OperationDeps,
    key: RecordKey,
    record: RecordBytes,
    options: OperationOptions,
    kind: PutKind = 'write',
    rest?: readonly KeyedRecord[],
    holder?: Holder
  ) {
    super(deps, key, options)
    this.#holder = holder
    this.#record = record
    this.#rest = rest
    this.#kind = kind
    this.#keepsExpiry = options.keepsExpiry === true || this.#isOld
  }

  /** Whether it is no new write: it takes no part in the order of those. */
  get #isOld(): boolean {
    return this.#kind === 'brought' || this.#kind === 'extended'
  }

  /** Whoever has minted it counts without being asked again, unless owners may have changed since. */
  protected override phase(): void {
    super.phase()
    const holder = this.#holder
    if (holder !== undefined && this.isHeldBy(holder.store)) this.yesOf(holder.store)
  }

  protected override isHeldBy(store: StoreId): boolean {
    return store === this.#holder?.store && this.epoch === this.#holder.epoch && this.route.replicas.includes(store)
  }

  /** Who may fall back on itself must have the time for it. */
  protected override get answerWithinMs(): number {
    return this.#kind === 'any' ? Math.ceil(this.remainingMs / 2) : this.remainingMs
  }

  /** Out of reach of all owners: keeps the record for whoever owns it, if that will do. */
  protected override outOfReach(): void {
    if (this.#kind !== 'any') return super.outOfReach()
    if (this.#isKeeping) return
    this.#isKeeping = true
    const done = (error: KilovoltError | undefined): void => {
      if (error === undefined) this.succeed(this.#result())
      else super.outOfReach()
    }
    this.deps.keepFor(ANY_OWNER, this.key, this.#record, done, this.#rest)
  }

  protected encode(): Uint8Array {
    return encodePut(this.#request())
  }

  protected decode(body: Uint8Array): PutReply {
    return decodePutReply(body)
  }

  protected askSelf(done: (error: KilovoltError | undefined, reply: PutReply | undefined) => void): void {
    this.deps.replica.put(this.#request(), this.epoch, done)
  }

  /** It is held there. */
  protected yesOf(store: StoreId): void {
    if (this.yes(store)) this.#acknowledge()
  }

  protected onReply(store: StoreId, reply: PutReply): void {
    // What an owner holds already is given to the others as it is.
    if (this.#kind === 'minted' && (reply.kind === 'stale' || reply.kind === 'late'))
      return this.no(store, reply.kind, true)
    switch (reply.kind) {
      case 'stored':
        this.#existed ||= reply.existed
        if (reply.rest !== undefined) this.#restExisted = mergedRest(this.#restExisted, reply.rest)
        this.yesOf(store)
        break
      case 'stale':
        this.#shows(store, recordHlc(reply.current))
        if (this.requirement === 'one' || this.#isOld || this.#latestIn === this.epoch) {
          this.#isOutrun = true
          this.#existed ||= this.#isLive(reply.current)
          if (this.yes(store)) this.#acknowledge()
        } else this.#restamp(store, recordHlc(reply.current))
        break
      case 'late':
        if (this.#isOld) this.#sendAs(store, { ...recordStamp(this.#record), hlc: reply.floor + 1 })
        else this.#restamp(store, reply.floor)
        break
      case 'fenced':
        if (reply.epoch > this.epoch) this.refresh(reply.epoch)
        else this.no(store, 'fenced', false)
        break
    }
  }

  /** A replica that fails when the write is acknowledged already is given it later. */
  protected override onLate(store: StoreId, { kind }: Outcome): void {
    if (this.#isAcknowledged && kind !== 'reply') this.#keepFor(store)
  }

  #acknowledge(): void {
    this.#isAcknowledged = true
    for (const store of this.failed) this.#keepFor(store)
    this.succeed(this.#result())
  }

  #keepFor(store: StoreId): void {
    this.deps.keepFor(store, this.key, this.#record, undefined, this.#rest)
  }

  #result(): PutResult {
    return {
      existed: this.#existed,
      rest: this.#restExisted,
      restamps: this.#restamps,
      record: this.#record,
      isOutrun: this.#isOutrun
    }
  }

  #isLive(record: RecordBytes): boolean {
    const { clock, stamps } = this.deps
    return isLive(record, Math.max(clock.wallMs(), hlcToMs(stamps.last)))
  }

  /** A replica holds this, and with it all that it has acknowledged before the write began. */
  #shows(store: StoreId, hlc: number): void {
    if (this.#shown?.epoch !== this.epoch) {
      const level = typeof this.requirement === 'number' ? this.requirement : 'quorum'
      this.#shown = { epoch: this.epoch, tally: new Tally(this.route.sets, level) }
    }
    const { tally } = this.#shown
    // Those that have stored it held nothing later.
    for (const one of [...this.tally.answered, store]) tally.yes(one)
    this.#shownHlc = Math.max(this.#shownHlc, hlc)
  }

  /** Sends it anew with a stamp later than this, and than all that was shown. */
  #restamp(store: StoreId, after: number): void {
    const phase = this.phases
    const hlc = Math.max(after, this.#shownHlc)
    if (this.#shown?.epoch === this.epoch && this.#shown.tally.state === 'won') this.#latestIn = this.epoch
    const go = (next: Stamp): void => {
      // Somebody else of the same phase was stale too, or as many as it needs have stored it.
      if (phase === this.phases && !this.hasEnded) this.#sendAs(store, next)
    }
    const stamp = this.deps.stamps.next(hlc)
    if (stamp instanceof Promise) stamp.then(go, (error: unknown) => this.fail(error))
    else go(stamp)
  }

  #sendAs(store: StoreId, stamp: Stamp): void {
    if (this.#restamps === RESTAMPS_MAX) return this.no(store, 'stale', true)
    this.#restamps++
    const again = this.#keepsExpiry ? restamp : restampWrite
    this.#record = again(this.#record, stamp)
    this.#rest = restampRest(this.#rest, stamp, again)
    this.phase()
  }

  #request(): PutRequest {
    const { partition, keyspace, key } = this.key
    const exempt = this.requirement === 'one'
    return { partition, keyspace, key, record: this.#record, exempt, repair: this.#kind === 'minted', rest: this.#rest }
  }
}
