import { KilovoltError } from '../base/errors.ts'
import { ACTORS_MAX, latestSeen } from '../model/causality.ts'
import { hlcFromMs, hlcToMs } from '../model/hlc.ts'
import type { Actor } from '../model/node-id.ts'
import { assertRecord, encodeRecord, encodeSiblings, isLive, type RecordBytes } from '../model/record.ts'
import { nameOf, type SiblingSet } from '../model/sibling-form.ts'
import { mintedSet, SIBLING_BYTES_MAX, SIBLINGS_MAX, siblingsOf } from '../model/sibling-set.ts'
import type { Stamp } from '../model/stamp.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import type { Clock } from '../runtime/clock.ts'
import { AGAIN_WITHIN_MS, decodeMint, encodeMintReply, type MintReply, type MintRequest } from './mint-wire.ts'
import { asError, driftError, overError } from './replica-error.ts'
import type { Replica, ReplicaDeps, ReplicaDone } from './replica.ts'

/** What minting needs. */
export interface MinterDeps extends Pick<ReplicaDeps, 'records' | 'horizons' | 'stamps' | 'rules' | 'isOver'> {
  readonly clock: Pick<Clock, 'wallMs' | 'monotonicMs'>
  readonly replica: Pick<Replica, 'admit' | 'serve'>
}

/** Names of writes that are remembered after they were replaced: a request that is made again comes soon or never. */
const RECENT_MAX = 4096
/** Who is asked again for what was forgotten longer ago was first asked since: twice as long, as messages take their time. */
const FORGOTTEN_FOR_MS = 2 * AGAIN_WITHIN_MS

/** What is remembered of a write. */
interface Remembered {
  readonly existed: boolean
  readonly atMs: number
}

/**
 * The owner's side of a write in a keyspace with siblings. It joins the write to what it holds of the key under a dot that is
 * later than all of that, in one turn of its store (rule S2). That it has seen all that it has minted itself is what a number
 * for each actor stands on: so it mints under a name that it has made for itself since it was started, and makes another when
 * something that it has stored may have been lost (rule S4). An owner that comes back from the loss of its machine without its
 * last writes would otherwise claim to have seen them.
 */
export class Minter {
  readonly #deps: MinterDeps
  readonly #maxClockDriftMs: number
  /** What was minted, by the names of the writes. */
  readonly #recent = new Map<string, Remembered>()
  /** Since when it remembers all of it. */
  #sinceMs: number
  #actor: Actor | undefined
  #forgotten = 0

  /**
   * @param maxClockDriftMs - how far ahead of this node's clock what was seen may be
   * @param isNew - whether the store has never been opened before
   */
  constructor(deps: MinterDeps, maxClockDriftMs: number, isNew: boolean) {
    this.#deps = deps
    this.#maxClockDriftMs = maxClockDriftMs
    this.#sinceMs = isNew ? -Infinity : deps.clock.monotonicMs()
  }

  /** Answers MINT. */
  listen(transport: Transport): void {
    transport.handle(MessageType.MINT, (message, respond) => {
      this.#deps.replica.serve(message, respond, decodeMint, encodeMintReply, (request, done) =>
        this.mint(request, message.epoch, done)
      )
    })
  }

  mint(request: MintRequest, epoch: number, done: ReplicaDone<MintReply>): void {
    this.#deps.replica.admit(request, epoch, done, () => this.#stamp(request, done))
  }

  /** What a coordinator would make that minted by itself, of which it has seen nothing: only to show what that would do. */
  mintBlindly(request: MintRequest, stamp: Stamp): RecordBytes {
    const made = this.#make(undefined, request, stamp)
    if (made instanceof Error) throw made
    return made
  }

  #stamp(request: MintRequest, done: ReplicaDone<MintReply>): void {
    const { horizons, stamps, rules, isOver } = this.#deps
    if (isOver()) return done(overError(), undefined)
    const problem = problemOf(request)
    if (problem !== undefined) return done(problem, undefined)
    const floor = rules.closePast ? horizons.floorOf(request.partition) : 0
    const stamp = stamps.next(floor)
    if (!(stamp instanceof Promise)) return this.#mint(request, stamp, done)
    stamp.then(
      later => {
        // H1: the past may have been closed meanwhile.
        if (later.hlc <= horizons.floorOf(request.partition) && rules.closePast) this.#stamp(request, done)
        else this.#mint(request, later, done)
      },
      (error: unknown) => done(asError(error), undefined)
    )
  }

  #mint(request: MintRequest, stamp: Stamp, done: ReplicaDone<MintReply>): void {
    const { records, clock, stamps } = this.#deps
    const make = (held: RecordBytes | undefined): RecordBytes | KilovoltError => this.#make(held, request, stamp)
    records.mint(request, request.value?.length ?? 0, make, (error, result) => {
      if (error !== undefined || result?.stored === undefined) return done(asError(error), undefined)
      const { stored, current } = result
      const known = this.#recent.get(request.id)
      const nowMs = Math.max(clock.wallMs(), hlcToMs(stamps.last))
      const existed = known?.existed ?? isLive(current, nowMs)
      if (known === undefined) this.#remember(request.id, existed)
      done(undefined, { kind: 'minted', existed, record: stored })
    })
  }

  #make(
    held: RecordBytes | undefined,
    { id, context, value, packed, ttl, brought, again }: MintRequest,
    stamp: Stamp
  ): RecordBytes | KilovoltError {
    const { rules, clock } = this.#deps
    const set = held && siblingsOf(held)
    const isKnown = this.#recent.has(id) || set?.siblings.some(sibling => sibling.id === id) === true
    // It was asked before, and its answer lost (rule S3).
    if (held !== undefined && isKnown && rules.mintOnce) return encodeSiblings(siblingsOf(held))
    if (again && rules.mintOnce && (isKnown || this.#mayHaveForgotten)) return forgottenError()
    const nowMs = clock.wallMs()
    const heldHlc = set === undefined ? 0 : latestSeen(set)!.hlc
    const seenHlc = (context && latestSeen(context)?.hlc) ?? 0
    // D1, and D3: what directly succeeds what is held here is let in, or a key that was once poisoned could never be written.
    const isTooFar = seenHlc > hlcFromMs(nowMs + this.#maxClockDriftMs) && seenHlc > heldHlc
    if (isTooFar && !brought) return driftError()
    const hlc = Math.max(stamp.hlc, heldHlc + 1, seenHlc + 1)
    // Only a fault or a forgery is at the end of time. What is stored must be read again.
    if (hlc > Number.MAX_SAFE_INTEGER) return driftError()
    const expiresAt = ttl === undefined || value === undefined ? undefined : hlcToMs(hlc) + ttl
    const before = set && withoutExpired(set, nowMs - this.#maxClockDriftMs)
    const dot = { hlc, actor: this.#name(stamp) }
    const made = mintedSet(before, { context, dot, id, value, packed, expiresAt })
    return (brought ? undefined : boundProblem(made, before)) ?? encodeSiblings(made)
  }

  /** Under which name it mints now. */
  #name(stamp: Stamp): Actor {
    const { records, rules } = this.#deps
    if (!rules.renameMint) return stamp.actor
    if (this.#actor === undefined || records.forgotten !== this.#forgotten) {
      this.#forgotten = records.forgotten
      this.#actor = nameOf(stamp) as Actor
    }
    return this.#actor
  }

  /** Whether it may have minted what it was first asked for lately, and does not know. */
  get #mayHaveForgotten(): boolean {
    return this.#deps.clock.monotonicMs() - this.#sinceMs < FORGOTTEN_FOR_MS
  }

  #remember(id: string, existed: boolean): void {
    this.#recent.set(id, { existed, atMs: this.#deps.clock.monotonicMs() })
    if (this.#recent.size <= RECENT_MAX) return
    const [oldest, { atMs }] = this.#recent.entries().next().value!
    this.#recent.delete(oldest)
    this.#sinceMs = atMs
  }
}

/** Whoever asks knows from it that the write may be stored. */
function forgottenError(): KilovoltError {
  return new KilovoltError('KV_STORAGE', 'this owner may have stored the write before, and does not remember')
}

/** What comes from another node is looked at before it is stored. */
function problemOf({ value, packed }: MintRequest): KilovoltError | undefined {
  if (value === undefined || !packed) return undefined
  try {
    assertRecord(encodeRecord({ stamp: { hlc: 0, actor: '0'.repeat(16) as Actor }, value, packed }))
    return undefined
  } catch (error) {
    return asError(error)
  }
}

/** What has expired for everybody is in nobody's way any more. */
function withoutExpired(set: SiblingSet, beforeMs: number): SiblingSet {
  const siblings = set.siblings.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > beforeMs)
  return siblings.length === set.siblings.length ? set : { ...set, siblings }
}

/** More than there may be is refused where it becomes more. */
function boundProblem(made: SiblingSet, before: SiblingSet | undefined): KilovoltError | undefined {
  const count = made.siblings.length
  const bytes = bytesOf(made)
  const isMore = count > SIBLINGS_MAX && count > (before?.siblings.length ?? 0)
  const isLarger = bytes > SIBLING_BYTES_MAX && bytes > (before === undefined ? 0 : bytesOf(before))
  if (!isMore && !isLarger) return crowdProblem(made, before)
  return new KilovoltError(
    'KV_TOO_MANY_SIBLINGS',
    `the key would have ${count} siblings of ${bytes} bytes, where ${SIBLINGS_MAX} of ${SIBLING_BYTES_MAX} bytes are the most: ` +
      'read it, and put what they come to with the context of the read',
    { details: { siblings: count, bytes } }
  )
}

/** Where the past cannot be settled for long, as while a member is down, or where a context names whom nobody knows. */
function crowdProblem(made: SiblingSet, before: SiblingSet | undefined): KilovoltError | undefined {
  const actors = made.seen.size
  if (actors <= ACTORS_MAX || actors <= (before?.seen.size ?? 0)) return undefined
  return new KilovoltError(
    'KV_TOO_MANY_SIBLINGS',
    `the key would name ${actors} owners that have written it, where ${ACTORS_MAX} are the most, until its past is settled`,
    { details: { actors } }
  )
}

function bytesOf({ siblings }: SiblingSet): number {
  return siblings.reduce((sum, { value }) => sum + value.length, 0)
}
