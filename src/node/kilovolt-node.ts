import { TypedEventEmitter } from 'main-event'
import { abortError, throwIfAborted } from '../base/abort.ts'
import { copyBytes, fromUtf8, utf8 } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { assertKnownOptions, assertSignal, show } from '../base/options.ts'
import type { StoreId } from '../model/node-id.ts'
import { recordExpiresAt, recordStamp } from '../model/record.ts'
import { liveSiblings, siblingsOf } from '../model/sibling-set.ts'
import { formatStamp } from '../model/stamp.ts'
import { copiesLeft } from '../placement/topology.ts'
import { waitMs } from './call-options.ts'
import type { NodeCore } from './node-core.ts'
import type { NodeEvents } from './events.ts'
import type {
  BatchOperation,
  ClearOptions,
  CountOptions,
  Entry,
  IndexMatch,
  Keyspace,
  PutOptions,
  QueryOptions,
  ReadOptions,
  Scan,
  ScanOptions,
  WriteOptions
} from './keyspace.ts'
import type { KeyspaceOptions, SchemaKeyspaceOptions } from './keyspace-options.ts'
import { NodeKeyspace } from './node-keyspace.ts'
import { listMembers, type MemberInfo, memberInfo } from './members.ts'
import type { LeaveReport, Node, RepairOptions, RepairReport, SetAsideEntry, WaitOptions } from './node.ts'
import { type RingView, TopologyRingView } from './ring-view.ts'
import type { SchemaInput, SchemaOutput, StandardSchema } from './schema.ts'
import type { StopAdvice } from './safe-to-stop.ts'
import { nameAll, whatIsLeft } from './settled.ts'
import type { NodeStatus } from './status.ts'
import { waitFor } from './wait-for.ts'
import type { Watch, WatchOptions } from './watch.ts'

const REPAIR_OPTIONS: ReadonlySet<string> = new Set(['verify', 'signal'] satisfies (keyof RepairOptions)[])

/** The façade over an assembled node: copies at the door, typed events, no protocol of its own. */
export class KilovoltNode extends TypedEventEmitter<NodeEvents> implements Node {
  readonly name = ''
  readonly conflicts = 'newest'
  readonly ring: RingView
  readonly #core: NodeCore
  readonly #default: Keyspace

  constructor(core: NodeCore) {
    super()
    this.#core = core
    this.#default = new NodeKeyspace(core, '')
    this.ring = new TopologyRingView(() => core.cluster.topology, core.ring)
    this.#forwardEvents()
  }

  get id(): string {
    return this.#core.storeId
  }

  get peerId(): string {
    return this.#core.transport.self
  }

  get cluster(): string {
    return this.#core.config.cluster
  }

  get addresses(): readonly string[] {
    return this.#core.transport.addresses
  }

  keyspace<S extends StandardSchema, K = string, I extends string = string>(
    name: string,
    options: SchemaKeyspaceOptions<S, K, I>
  ): Keyspace<SchemaOutput<S>, K, SchemaInput<S>, I>
  keyspace<V = unknown, K = string, I extends string = string>(
    name: string,
    options?: KeyspaceOptions<V, K, I>
  ): Keyspace<V, K, V, I>
  keyspace<V, K>(name: string, options?: KeyspaceOptions<V, K>): Keyspace<V, K> {
    const keyspace = new NodeKeyspace<V, K>(this.#core, name, options)
    // What an earlier life has left of other indexes is not kept for ever.
    this.#core.indexes.define(utf8(name), [])
    return keyspace
  }

  get(key: string, options?: ReadOptions): Promise<unknown> {
    return this.#default.get(key, options)
  }

  getEntry(key: string, options?: ReadOptions): Promise<Entry<unknown> | undefined> {
    return this.#default.getEntry(key, options)
  }

  has(key: string, options?: ReadOptions): Promise<boolean> {
    return this.#default.has(key, options)
  }

  getMany(keys: readonly string[], options?: ReadOptions): Promise<unknown[]> {
    return this.#default.getMany(keys, options)
  }

  put(key: string, value: unknown, options?: PutOptions): Promise<void> {
    return this.#default.put(key, value, options)
  }

  delete(key: string, options?: WriteOptions): Promise<boolean> {
    return this.#default.delete(key, options)
  }

  batch(operations: readonly BatchOperation<unknown>[], options?: PutOptions): Promise<void> {
    return this.#default.batch(operations, options)
  }

  touch(key: string, ttl?: number, options?: WriteOptions): Promise<boolean> {
    return this.#default.touch(key, ttl, options)
  }

  persist(key: string, options?: WriteOptions): Promise<boolean> {
    return this.#default.persist(key, options)
  }

  putIfAbsent(key: string, value: unknown, options?: PutOptions): Promise<boolean> {
    return this.#default.putIfAbsent(key, value, options)
  }

  update(key: string, change: (current: unknown) => unknown, options?: PutOptions): Promise<unknown> {
    return this.#default.update(key, change, options)
  }

  entries(options?: ScanOptions): Scan<[key: string, value: unknown]> {
    return this.#default.entries(options)
  }

  keys(options?: ScanOptions): Scan<string> {
    return this.#default.keys(options)
  }

  values(options?: ScanOptions): Scan<unknown> {
    return this.#default.values(options)
  }

  count(options?: CountOptions): Promise<number> {
    return this.#default.count(options)
  }

  clear(options?: ClearOptions): Promise<number> {
    return this.#default.clear(options)
  }

  query(index: string, options?: QueryOptions): Scan<IndexMatch<unknown>> {
    return this.#default.query(index, options)
  }

  watch(options?: WatchOptions): Watch {
    return this.#default.watch(options)
  }

  members(): MemberInfo[] {
    const { storeId, membership, cluster } = this.#core
    return listMembers(storeId, membership.view, cluster.topology)
  }

  status(): NodeStatus {
    return this.#core.status()
  }

  async settled(options: WaitOptions = {}): Promise<void> {
    const timeoutMs = waitMs(options, 'settled')
    const { signal } = options
    throwIfAborted(signal, 'settled')
    this.#assertRunning()
    const { cluster, membership, storeId } = this.#core
    const isAlive = (store: StoreId): boolean => store === storeId || membership.statusOf(store) === 'alive'
    const left = (): string | undefined => whatIsLeft(cluster.topology, isAlive, membership.view)
    const end = await waitFor(this.#core, () => left() === undefined, timeoutMs, signal)
    if (end === 'stopped') throw stoppedError()
    if (end === 'aborted') throw abortError(signal!, 'settled')
    if (end === 'met') return
    const message = `the cluster did not settle within ${timeoutMs} ms: ${left() ?? 'it has just done so'}`
    throw new KilovoltError('KV_TIMEOUT', message, { retryable: true })
  }

  async repair(options: RepairOptions = {}): Promise<RepairReport> {
    assertKnownOptions(options, 'repair', REPAIR_OPTIONS)
    const { signal, verify = false } = options
    assertSignal(signal)
    if (typeof verify !== 'boolean') {
      throw new KilovoltError('KV_CONFIG', `"verify" must be true or false, not ${show(verify)}`)
    }
    throwIfAborted(signal, 'repair')
    return this.#core.repair(verify, signal)
  }

  async leave(options: WaitOptions = {}): Promise<LeaveReport> {
    const timeoutMs = waitMs(options, 'leave')
    const { signal } = options
    throwIfAborted(signal, 'leave')
    this.#assertRunning()
    const { clock, storeId } = this.#core
    const startMs = clock.monotonicMs()
    const before = this.#copies(storeId)
    await this.#core.leave(timeoutMs, signal).catch((error: unknown) => {
      throw isKilovoltError(error, 'KV_TIMEOUT') ? this.#whyNotLeft(error) : error
    })
    return { partitions: before - this.#copies(storeId), durationMs: Math.round(clock.monotonicMs() - startMs) }
  }

  safeToStop(): StopAdvice {
    this.#assertRunning()
    return this.#core.safeToStop()
  }

  async *setAside(): AsyncGenerator<SetAsideEntry> {
    this.#assertRunning()
    for await (const { keyspace, key, record } of this.#core.setAside()) {
      const place = { keyspace: fromUtf8(keyspace), key: copyBytes(key), version: formatStamp(recordStamp(record)) }
      const live = liveSiblings(siblingsOf(record), this.#core.data.nowMs)
      if (live.length === 0) yield { ...place, ...expiryOf(recordExpiresAt(record)), value: undefined }
      for (const { value, packed, expiresAt } of live) {
        const plain = copyBytes(packed ? await this.#core.packing.unpack(value) : value)
        yield { ...place, ...expiryOf(expiresAt), value: plain }
      }
    }
  }

  async discardSetAside(): Promise<void> {
    this.#assertRunning()
    await this.#core.discardSetAside()
  }

  stop(): Promise<void> {
    return this.#core.stop()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** The error of a leave that was not done in time, with what is known of the reason. */
  #whyNotLeft(error: KilovoltError): KilovoltError {
    const { cluster, membership, storeId } = this.#core
    const members = [...(cluster.topology?.members.values() ?? [])].filter(({ status }) => status !== 'evicted')
    const dead = members.map(member => member.storeId).filter(store => membership.statusOf(store) === 'dead')
    const why =
      dead.length === 0
        ? ''
        : `. Dead are ${nameAll(dead)}, which is the likely reason: without ${dead.length === 1 ? 'it' : 'them'} there may be nobody ` +
          'to take the data. Start what has died again, or wait until it is evicted, or start another node'
    const details = { partitions: this.#copies(storeId), dead }
    return new KilovoltError('KV_TIMEOUT', error.message + why, { cause: error, retryable: error.retryable, details })
  }

  #copies(store: StoreId): number {
    return this.#core.cluster.topology?.rows.filter(({ slots }) => slots.includes(store)).length ?? 0
  }

  #assertRunning(): void {
    if (this.#core.stopped) throw stoppedError()
  }

  #forwardEvents(): void {
    const { storeId, membership, cluster, transport } = this.#core
    const emit = <K extends keyof NodeEvents>(type: K, detail: NodeEvents[K]['detail']): void => {
      this.dispatchEvent(new CustomEvent(type, { detail }))
    }
    const types = ['member:joined', 'member:suspected', 'member:failed', 'member:returned', 'member:left'] as const
    for (const type of types) {
      membership.on(type, member => emit(type, memberInfo(member.storeId, storeId, membership.view, cluster.topology)))
    }
    let from = cluster.topology?.clusterId
    cluster.on('topology', ({ clusterId: to, epoch }) => {
      if (from !== undefined && to !== from) emit('cluster:changed', { from, to })
      from = to
      emit('topology:changed', { epoch })
    })
    cluster.on('row', ({ partition, event }) => {
      const row = cluster.topology?.rows[partition]
      emit(`ownership:${event}`, { partition, owners: row?.change?.next ?? row?.slots ?? [] })
      const left = row === undefined || event !== 'begin' ? undefined : copiesLeft(row)
      if (left !== undefined) emit('partition:lost', { partition, left })
    })
    transport.on('link:refused', ({ peer, error }) => emit('link:refused', { peerId: peer, error }))
    this.#core.on('storage', error => {
      if (error === undefined) emit('storage:writable', undefined)
      else emit('storage:read-only', { error })
    })
    this.#core.on('set-aside', count => emit('data:set-aside', { count }))
    this.#core.on('corrupt', count => emit('data:corrupt', { count }))
    this.#core.on('index-failed', detail => emit('index:failed', detail))
    this.#core.on('stopped', () => emit('node:stopped', undefined))
  }
}

function stoppedError(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'this node is stopped')
}

function expiryOf(expiresAt: number | undefined): { readonly expiresAt?: number } {
  return expiresAt === undefined ? {} : { expiresAt }
}
