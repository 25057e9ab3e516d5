import { equalBytes, toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { compareRecordStamps, type RecordBytes, recordExpiresAt, recordStamp, recordValue } from '../model/record.ts'
import { isNextTo } from '../model/stamp.ts'
import type { BackendOptions, BackendSource, KeyspaceBackend } from './backend.ts'
import type { Turn } from './key-turns.ts'

/** How a value is made of the one before it. */
export interface Change {
  /** The new value of what is there now; `undefined` for nothing. */
  readonly make: (current: Uint8Array | undefined) => Promise<Uint8Array | undefined>
  /** Whether what has an expiry keeps that, instead of having the time to live of the call. */
  readonly keepsExpiry: boolean
}

/** What became of an expiry: there was no value; it is what it was; it was changed. */
export type Expired = 'absent' | 'same' | 'changed'

/** Times that a call begins anew because another node has come between. */
const ATTEMPTS_MAX = 16

/**
 * Writes that depend on what is there, in bytes. A best effort, as nothing below a log can promise more: the calls of this node
 * on one key take turns, and a write of another node that comes between is noticed when it can be.
 *
 * What is made of a value is written with a version right after that one, before all that is stamped later. So it takes the
 * place of that value alone: a write that was not seen wins, whether it comes before this one or after, and a copy that holds
 * it says so. Of those who make something of the same value the first to come has the later version; the others are told that
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
        if (base === undefined) return 'absent'
        const expiresAt = ttl === undefined ? undefined : data.nowMs + ttl
        if (expiresAt === recordExpiresAt(base)) return 'same'
        const plan = { value: recordValue(base), expiresAt, after: base }
        if (!(await this.#follow(data, key, plan, call, turn)).isOutrun) return 'changed'
      }
      throw contended('an expiry')
    })
  }

  /** Stores a value if there is none; whether it did, and nobody's has taken its place when it is read back. */
  putIfAbsent(key: Uint8Array, value: Uint8Array, call: BackendOptions): Promise<boolean> {
    return this.#inTurn(key, call, async (turn, data) => {
      if ((await this.#read(data, key, call, turn)) !== undefined) return false
      return this.#begin(data, key, value, call, turn)
    })
  }

  /** Makes a value of the one that is there, and stores it; deletes when it comes to none. */
  update(key: Uint8Array, { make, keepsExpiry }: Change, call: BackendOptions): Promise<void> {
    return this.#inTurn(key, call, async (turn, data) => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        const after = await this.#read(data, key, call, turn)
        const value = await make(after && recordValue(after))
        if (after === undefined) {
          if (value === undefined || (await this.#begin(data, key, value, call, turn))) return
          continue
        }
        const given = call.ttl === undefined ? undefined : data.nowMs + call.ttl
        const expiresAt = keepsExpiry ? recordExpiresAt(after) : given
        const { record, isOutrun } = await this.#follow(data, key, { value, expiresAt, after }, call, turn)
        if (!isOutrun && stands(record, await this.#read(data, key, call, turn))) return
      }
      throw contended('an update')
    })
  }

  /** The first value of a key. There is nothing that it could follow: of several the last one wins, and is seen to. */
  async #begin(
    data: KeyspaceBackend,
    key: Uint8Array,
    value: Uint8Array,
    call: BackendOptions,
    turn: Turn
  ): Promise<boolean> {
    const plan = { value, expiresAt: undefined }
    const { record } = await data.write(this.#keyspace, key, plan, { ...call, timeoutMs: turn.leftMs })
    return stands(record, await this.#read(data, key, call, turn))
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
    return data.get(this.#keyspace, key, { requirement: level, timeoutMs: turn.leftMs, signal })
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
    `${what} was begun ${ATTEMPTS_MAX} times, and each time another node came between: write to this key from fewer nodes`,
    { retryable: true }
  )
}
