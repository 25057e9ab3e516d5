import { abortError, onAbort, stoppedError } from '../base/abort.ts'
import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { assertKnownOptions, assertSignal, show } from '../base/options.ts'
import { hashTag } from '../model/key.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import { isTombstone, type RecordBytes, recordStamp, STAMP_BYTES } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { WatchHub } from '../replication/watch-hub.ts'
import type { WatchChange, WatchListener, WatchSubscription } from '../replication/watch-subscription.ts'
import { nameOf } from '../replication/watch-shard.ts'
import { decodeToken } from '../replication/watch-token.ts'
import { EMPTY_BYTES, toHex } from '../base/bytes.ts'
import { ACTOR_BYTES, type Actor } from '../model/node-id.ts'
import { encodeOption } from './scan-options.ts'
import type { ResetEvent, Watch, WatchEvent, WatchOptions } from './watch.ts'

/** What watching needs of the node. */
export interface WatchDoor {
  readonly hub: Pick<WatchHub, 'add' | 'remove' | 'covered' | 'book' | 'reset'>
  readonly ring: Ring
  /** Calls back when the node stops; returns a function that forgets it. */
  onStopped(listener: () => void): () => void
}

/** How a keyspace reads what is told. */
export interface WatchCodec<V, K> {
  readonly keyspace: Uint8Array
  readonly encodeKey: (key: K) => Uint8Array
  readonly decodeKey: (bytes: Uint8Array) => K
  /** The value of a record; a promise only where it has to be waited for. */
  readonly valueOf: (record: RecordBytes, key: Uint8Array) => V | Promise<V>
}

/** An event that waits; without a change it is a reset. */
interface Queued {
  readonly change: WatchChange | undefined
  readonly token: () => string
}

const OPTIONS = new Set(['key', 'prefix', 'since', 'buffer', 'signal'])
const BUFFER_DEFAULT = 8192
const BUFFER_MAX = 1_000_000
const BUFFER_BYTES_MAX = 32 * 1024 * 1024

/** A watch of an app: a bounded queue between what is told and who reads it. */
export class NodeWatch<V, K> implements Watch<V, K>, WatchListener {
  readonly ready: Promise<void>
  readonly #getDoor: () => WatchDoor
  #door: WatchDoor | undefined
  readonly #codec: WatchCodec<V, K>
  readonly #since: string | undefined
  #subscription: WatchSubscription | undefined
  #queue: Queued[] = []
  /** Those before it were taken. */
  #head = 0
  #bytes = 0
  #max = BUFFER_DEFAULT
  /** Who waits for events, in order, and for room. */
  readonly #readers: Deferred<IteratorResult<WatchEvent<V, K>, undefined>>[] = []
  #roomy: Deferred<void> | undefined
  #last: (() => string) | undefined
  /** Why it has ended, if it has failed; */
  #failure: Error | undefined
  /** told to one who reads. */
  #error: Error | undefined
  #isOver = false
  #forgets: (() => void)[] = []

  constructor(door: () => WatchDoor, codec: WatchCodec<V, K>, options: WatchOptions<K>) {
    this.#codec = codec
    // What is wrong with the options is told by `ready`.
    this.#since = (options as WatchOptions<K> | null)?.since
    this.#getDoor = door
    this.ready = this.#start(options).catch((error: unknown) => {
      this.#fail(asError(error))
      throw error
    })
    // Who does not look at it learns of a failure from the next event.
    this.ready.catch(() => {})
  }

  get token(): string | undefined {
    // What has ended stays where its reader was; what was not taken is to be told to the next one.
    const book = this.#queue.length === this.#head && !this.#isOver ? this.#book() : undefined
    if (book !== undefined) this.#last = this.#subscription!.position(book)
    return this.#last?.() ?? this.#since
  }

  next(): Promise<IteratorResult<WatchEvent<V, K>, undefined>> {
    if (this.#error !== undefined) {
      const error = this.#error
      this.#error = undefined
      return Promise.reject(error)
    }
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined })
    const queued = this.#take()
    if (queued !== undefined) return this.#given(queued)
    const reader = createDeferred<IteratorResult<WatchEvent<V, K>, undefined>>()
    this.#readers.push(reader)
    return reader.promise
  }

  return(): Promise<IteratorResult<WatchEvent<V, K>, undefined>> {
    this.close()
    return Promise.resolve({ done: true, value: undefined })
  }

  close(): void {
    this.#error = undefined
    this.#end()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close()
    return Promise.resolve()
  }

  /** See {@link WatchListener}. */
  change(change: WatchChange, token: () => string): void {
    const bytes = sizeOf(change)
    if (this.#queue.length - this.#head >= this.#max || this.#bytes + bytes > BUFFER_BYTES_MAX)
      return this.#overflow({ change, token })
    this.#bytes += bytes
    this.#push({ change, token })
  }

  /** See {@link WatchListener}. */
  reset(): void {
    // Nothing is told before the node knows its cluster.
    const token = this.#subscription!.position(this.#door!.hub.book!)
    const last = this.#queue.at(-1)
    // Nothing has come since the one before: it says so still.
    if (last !== undefined && last.change === undefined && this.#queue.length > this.#head) {
      this.#queue[this.#queue.length - 1] = { change: undefined, token }
      return
    }
    this.#push({ change: undefined, token })
  }

  /**
   * Of what has no room the last version of each key stays, behind a reset, if that is much less: who reads anew after the reset
   * need not find it yet, where one copy alone has it. Else there is another reset when the copies agree.
   */
  #overflow(last: Queued): void {
    const latest = new Map<string, Queued & { readonly change: WatchChange }>()
    for (const { change, token } of [...this.#queue.slice(this.#head), last]) {
      if (change === undefined) continue
      const name = nameOf(change)
      latest.delete(name)
      latest.set(name, { change, token })
    }
    const kept = [...latest.values()]
    const bytes = kept.reduce((sum, { change }) => sum + sizeOf(change), 0)
    const subscription = this.#subscription!
    // What is old is told no further after a reset: the last of it here is not the last there is.
    const isKept = subscription.isInOrder && kept.length <= this.#max / 2 && bytes <= BUFFER_BYTES_MAX / 2
    this.#clear()
    if (isKept) subscription.reset()
    else this.#door!.hub.reset(subscription)
    // Who goes on from there in a later life is told of all that was dropped.
    const { token } = this.#queue[0]!
    this.#queue = [{ change: undefined, token: this.#last ?? (() => this.#since ?? token()) }]
    if (!isKept) return
    this.#queue.push(...kept)
    this.#bytes = bytes
  }

  /** See {@link WatchListener}. */
  room(): Promise<void> | undefined {
    if (this.#isOver || this.#queue.length - this.#head <= this.#max / 2) return undefined
    this.#roomy ??= createDeferred()
    return this.#roomy.promise
  }

  async #start(options: WatchOptions<K>): Promise<void> {
    this.#door = this.#getDoor()
    const { hub, ring } = this.#door
    const { key, prefix, since, buffer, signal } = checked(options)
    if (signal?.aborted === true) throw abortError(signal, 'watch')
    this.#max = buffer ?? BUFFER_DEFAULT
    const isKey = key !== undefined
    const encode = (option: 'key' | 'prefix'): Uint8Array =>
      encodeOption(option, options[option] as K, this.#codec.encodeKey)
    const bytes = isKey ? encode('key') : prefix === undefined ? EMPTY_BYTES : encode('prefix')
    const filter = { keyspace: this.#codec.keyspace, prefix: bytes, isKey }
    const partitions = partitionsOf(ring, bytes, isKey)
    const standing = since === undefined ? undefined : decodeToken(since, filter)
    this.#subscription = hub.add(filter, partitions, standing, this)
    this.#forgets = [
      onAbort(signal, () => this.#fail(abortError(signal!, 'watch'))),
      this.#door.onStopped(() => this.#fail(stoppedError()))
    ]
    await hub.covered(this.#subscription)
    if (this.#failure !== undefined) throw this.#failure
  }

  #book(): WatchHub['book'] {
    return this.#subscription === undefined ? undefined : this.#door?.hub.book
  }

  #push(queued: Queued): void {
    this.#queue.push(queued)
    this.#readers.shift()?.resolve(this.#given(this.#take()!))
  }

  #take(): Queued | undefined {
    const queued = this.#queue[this.#head]
    if (queued === undefined) return undefined
    this.#head++
    if (queued.change !== undefined) this.#bytes -= sizeOf(queued.change)
    // In one move, so that each costs the same on average.
    if (this.#head > 64 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    if (this.#roomy !== undefined && this.#queue.length - this.#head <= this.#max / 2) this.#makeRoom()
    return queued
  }

  /** An event as its reader gets it; what cannot be read ends the watch. */
  #given({ change, token }: Queued): Promise<IteratorResult<WatchEvent<V, K>, undefined>> {
    this.#last = token
    try {
      const event = change === undefined ? resetEvent(token) : this.#event(change, token)
      if (!(event instanceof Promise)) return Promise.resolve({ done: false, value: event })
      return event.then(
        value => ({ done: false as const, value }),
        (error: unknown) => {
          throw this.#unreadable(error)
        }
      )
    } catch (error) {
      return Promise.reject(this.#unreadable(error))
    }
  }

  #event(change: WatchChange, token: () => string): WatchEvent<V, K> | Promise<WatchEvent<V, K>> {
    const { decodeKey, valueOf } = this.#codec
    const { record, expired } = change
    const key = decodeKey(change.key)
    const version = formatStamp(recordStamp(record))
    const previous = change.previous === undefined ? {} : { previous: versionText(change.previous) }
    // Few tokens are ever looked at, and each takes some microseconds.
    if (expired)
      return {
        type: 'expire',
        key,
        version,
        get token() {
          return token()
        }
      }
    if (isTombstone(record))
      return {
        type: 'delete',
        key,
        version,
        ...previous,
        get token() {
          return token()
        }
      }
    const put = (value: V): WatchEvent<V, K> => ({
      type: 'put',
      key,
      value,
      version,
      ...previous,
      get token() {
        return token()
      }
    })
    const value = valueOf(record, change.key)
    return value instanceof Promise ? value.then(put) : put(value)
  }

  #unreadable(cause: unknown): Error {
    const error = asError(cause)
    this.#failure ??= error
    this.#end()
    return error
  }

  #fail(error: Error): void {
    if (this.#isOver) return
    this.#failure = error
    const reader = this.#readers.shift()
    if (reader === undefined) this.#error = error
    else reader.reject(error)
    this.#end()
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const forget of this.#forgets) forget()
    if (this.#subscription !== undefined) this.#door?.hub.remove(this.#subscription)
    this.#clear()
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined })
  }

  #clear(): void {
    this.#queue = []
    this.#head = this.#bytes = 0
    this.#makeRoom()
  }

  #makeRoom(): void {
    this.#roomy?.resolve()
    this.#roomy = undefined
  }
}

/** @throws KilovoltError `KV_CONFIG` */
function checked<K>(options: WatchOptions<K>): WatchOptions<K> {
  assertKnownOptions(options, 'watch', OPTIONS)
  const { key, prefix, since, buffer, signal } = options
  assertSignal(signal)
  if (key !== undefined && prefix !== undefined) throw config('a watch has a "key" or a "prefix", not both')
  if (since !== undefined && typeof since !== 'string') throw config('"since" is the token of an event')
  if (buffer !== undefined && !(Number.isInteger(buffer) && buffer >= 1 && buffer <= BUFFER_MAX))
    throw config(`"buffer" is a whole number from 1 to ${BUFFER_MAX}, not ${show(buffer)}`)
  return options
}

function config(message: string): KilovoltError {
  return new KilovoltError('KV_CONFIG', message)
}

/** Where keys that begin so can be: those with a whole hash tag at their beginning are all in one place. */
function partitionsOf(ring: Ring, prefix: Uint8Array, isKey: boolean): readonly PartitionId[] {
  if (isKey || hashTag(prefix) !== prefix) return [ring.partitionOf(prefix)]
  return Array.from({ length: ring.partitions }, (_, partition) => partition)
}

function resetEvent(token: () => string): ResetEvent {
  return {
    type: 'reset',
    get token() {
      return token()
    }
  }
}

/** Bytes that wait, about. */
function sizeOf({ keyspace, key, record }: WatchChange): number {
  return keyspace.length + key.length + record.length + 100
}

function versionText(stamp: Uint8Array): string {
  let hlc = 0
  for (let i = 0; i < STAMP_BYTES - ACTOR_BYTES; i++) hlc = hlc * 256 + stamp[i]!
  return formatStamp({ hlc, actor: toHex(stamp.subarray(STAMP_BYTES - ACTOR_BYTES)) as Actor })
}

function asError(error: unknown): Error {
  return isKilovoltError(error) || error instanceof TypeError
    ? error
    : new KilovoltError('KV_INTERNAL', messageOf(error), { cause: error })
}
