import { equalBytes, toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { hlcFromMs } from '../model/hlc.ts'
import type { Actor } from '../model/node-id.ts'
import {
  compareRecordStamps,
  encodeRecord,
  isLive,
  isPacked,
  type RecordBytes,
  recordExpiresAt,
  recordStamp,
  recordValue
} from '../model/record.ts'
import { newestAlone } from '../model/sibling-set.ts'
import { isNextTo } from '../model/stamp.ts'
import type { BackendOptions, BackendSource, KeyspaceBackend } from './backend.ts'
import type { Turn } from './key-turns.ts'
import type { Body } from './packing.ts'

/** How a value is made of the one before it. */
export interface Change {
  /** What to store in the place of a record that is there; `undefined` for nothing. */
  readonly make: (current: RecordBytes | undefined) => Promise<Body | undefined>
  /** Whether what has an expiry keeps that, instead of having the time to live of the call. */
  readonly keepsExpiry: boolean
}

/** What became of an expiry: there was no value; it is what it was; it was changed. */
export type Expired = 'absent' | 'same' | 'changed'

/** What deletes. */
const NOTHING = { value: undefined }
/** Times that a call begins anew because another node has come between. */
const ATTEMPTS_MAX = 16
/**
 * What a key holds that never held anything, as its first value has to follow something: a deletion before every write that is
 * under way, as far as clocks agree by that much, ms. Whoever begins within the same few seconds follows the same one.
 */
const NEVER_MS = 20_000
const NEVER_STEP_MS = 5000
const NOBODY = '0000000000000000' as Actor

/**
 * Writes that depend on what is there, in bytes. A best effort, as nothing below a log can promise more: the calls of this node
 * on one key take turns, and a write of another node that comes between is noticed when it can be.
 *
 * What is made of a value, or of its absence, is written with a version right after that one, before all that is stamped later.
 * So it takes the place of that alone: a write that was not seen wins, whether it comes before this one or after, and a copy
 * that holds it says so. Of those who make something of the same value the first to come has the later version; the others are told that
 * they are outrun, or find so when they read back what they wrote, and begin anew.
 *
 * All read at a quorum, whatever the level: what a value is made of must be the newest, or an old one would come back where a
 * version has to be moved out of a past that is being settled (rule H1).
 */
export class ConditionalWrites {
  readonly #source: BackendSource
  readonly #keyspace: Uint8Array
  readonly #prefix: string

  constructor(source: BackendSource, keyspace: Uint8Array) {
    this.#source = source
    this.#keyspace = keyspace
    this.#prefix = `${keyspace.length} ${toLatin1(keyspace)} `
  }

  /** Gives a value that is there another expiry: so many ms from now, or none. */
  expire(key: Uint8Array, ttl: number | undefined, call: BackendOptions): Promise<Expired> {
    return this.#inTurn(key, call, async (turn, data) => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        const base = await this.#read(data, key, call, turn)
        if (base === undefined || !isLive(base, data.nowMs)) return 'absent'
        const expiresAt = ttl === undefined ? undefined : data.nowMs + ttl
        if (expiresAt === recordExpiresAt(base)) return 'same'
        const plan = { value: recordValue(base), packed: isPacked(base), expiresAt, after: base }
        if (!(await this.#follow(data, key, plan, call, turn)).isOutrun) return 'changed'
      }
      throw contended('an expiry')
    })
  }

  /** Stores a value if there is none; whether it did, and nobody's has taken its place when it is read back. */
  putIfAbsent(key: Uint8Array, body: Body, call: BackendOptions): Promise<boolean> {
    return this.#inTurn(key, call, async (turn, data) => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        const found = await this.#read(data, key, call, turn)
        if (isLive(found, data.nowMs)) return false
        const plan = { ...body, expiresAt: endOf(call, data), after: found ?? nothing(data) }
        if (await this.#stands(data, key, plan, call, turn)) return true
      }
      throw contended('a first value')
    })
  }

  /** Makes a value of the one that is there, and stores it; deletes when it comes to none. */
  update(key: Uint8Array, { make, keepsExpiry }: Change, call: BackendOptions): Promise<void> {
    return this.#inTurn(key, call, async (turn, data) => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        const found = await this.#read(data, key, call, turn)
        const current = found !== undefined && isLive(found, data.nowMs) ? found : undefined
        const body = await make(current)
        if (current === undefined && body === undefined) return
        const expiresAt = keepsExpiry && current !== undefined ? recordExpiresAt(current) : endOf(call, data)
        const plan = { ...(body ?? NOTHING), expiresAt, after: found ?? nothing(data) }
        if (await this.#stands(data, key, plan, call, turn)) return
      }
      throw contended('an update')
    })
  }

  /** Stores what was made of what was read, and looks whether it is there. */
  async #stands(
    data: KeyspaceBackend,
    key: Uint8Array,
    plan: Parameters<KeyspaceBackend['write']>[2],
    call: BackendOptions,
    turn: Turn
  ): Promise<boolean> {
    const { record, isOutrun } = await this.#follow(data, key, plan, call, turn)
    return !isOutrun && stands(record, await this.#read(data, key, call, turn))
  }

  /** Stores what was made of a value. */
  #follow(
    data: KeyspaceBackend,
    key: Uint8Array,
    plan: Parameters<KeyspaceBackend['write']>[2],
    call: BackendOptions,
    turn: Turn
  ): ReturnType<KeyspaceBackend['write']> {
    return data.write(this.#keyspace, key, plan, { ...call, ttl: undefined, timeoutMs: turn.leftMs })
  }

  async #read(
    data: KeyspaceBackend,
    key: Uint8Array,
    { requirement, signal }: BackendOptions,
    turn: Turn
  ): Promise<RecordBytes | undefined> {
    const level = requirement === 'all' ? 'all' : 'quorum'
    const options = { requirement: level, timeoutMs: turn.leftMs, signal, wantsDead: true } as const
    const record = await data.get(this.#keyspace, key, options)
    return record && newestAlone(record, data.nowMs)
  }

  #inTurn<T>(
    key: Uint8Array,
    call: BackendOptions,
    run: (turn: Turn, data: KeyspaceBackend) => Promise<T>
  ): Promise<T> {
    const source = this.#source
    return source.turns.take(this.#prefix + toLatin1(key), call, async turn => run(turn, source.data))
  }
}

/** When what is stored now ends, Unix ms. */
function endOf({ ttl }: BackendOptions, { nowMs }: KeyspaceBackend): number | undefined {
  return ttl === undefined ? undefined : nowMs + ttl
}

function nothing({ nowMs }: KeyspaceBackend): RecordBytes {
  const atMs = Math.floor((nowMs - NEVER_MS) / NEVER_STEP_MS) * NEVER_STEP_MS
  return encodeRecord({ stamp: { hlc: hlcFromMs(atMs), actor: NOBODY }, value: undefined })
}

/** Whether what is found now is what was written, or nothing that came later. */
function stands(written: RecordBytes, found: RecordBytes | undefined): boolean {
  if (found === undefined || compareRecordStamps(found, written) <= 0) return true
  // With another expiry, it is the same value still.
  const [value, now] = [recordValue(written), recordValue(found)]
  const isNext = isNextTo(recordStamp(found), recordStamp(written))
  return isNext && value !== undefined && now !== undefined && equalBytes(value, now)
}

function contended(what: string): KilovoltError {
  return new KilovoltError(
    'KV_CONTENDED',
    `${what} was begun ${ATTEMPTS_MAX} times, and each time another write of the key came between: write it from fewer nodes, and not from the function of an update() itself`,
    { retryable: true }
  )
}
