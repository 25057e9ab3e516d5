import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { StateMachine } from '../consensus/group.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { metaKey } from '../storage/key-layout.ts'
import { seal, unseal } from '../storage/sealed.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import type { Kinship } from './kinship.ts'
import { MetaState, type RowEvent } from './meta-state.ts'

/** What the applied log tells. */
export interface MetaLogEvents {
  topology: Topology
  row: RowEvent
}

/** What it needs. */
export interface MetaLogDeps {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
}

interface Applied {
  readonly index: number
  readonly command: Uint8Array | undefined
}

/** Entries kept for those who lag; who is further behind gets a snapshot. */
const RECENT_MAX = 2048
/** Bytes of entries in one answer, at least one entry: who lacks more asks again. */
const DELTA_BYTES_MAX = 1024 * 1024
/** Pause between two writes of the snapshot to the store, ms. */
const PERSIST_EVERY_MS = 1000
/** What an entry without its command takes at most. */
const ENTRY_BYTES = 16
const SNAPSHOT_KEY = metaKey(Uint8Array.of(0))
const Delta = { ENTRIES: 0, SNAPSHOT: 1 } as const

/**
 * The applied log of the meta group on one node, voter or not: the state, its recent entries for others, and a copy in
 * the store so that a node that starts again is a member at once. Only committed entries ever get here.
 */
export class MetaLog implements StateMachine {
  readonly #deps: MetaLogDeps
  #state = new MetaState()
  readonly #events = new Emitter<MetaLogEvents>()
  #recent: Applied[] = []
  #persistTimer: Timer | undefined
  #persisted = 0
  /** Latest epoch that is known to survive the end of the machine. */
  #settled = 0
  #writing: Promise<void> = Promise.resolve()
  #stopped = false
  #isClosed = false

  constructor(deps: MetaLogDeps) {
    this.#deps = deps
  }

  get epoch(): number {
    return this.#state.epoch
  }

  get topology(): Topology | undefined {
    return this.#state.topology
  }

  /** What the log says of other clusters of the name. */
  get kinship(): Kinship {
    return this.#state.kinship
  }

  on<K extends keyof MetaLogEvents>(type: K, listener: (detail: MetaLogEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  /** Loads the copy in the store. Whether there was one. @throws KilovoltError `KV_STORAGE`, `KV_CORRUPT` */
  async load(): Promise<boolean> {
    const state = await MetaLog.stored(this.#deps.store)
    if (state === undefined) return false
    this.#state = state
    this.#persisted = this.#state.epoch
    return this.#state.topology !== undefined
  }

  /** The copy in a store, if there is one. @throws KilovoltError `KV_STORAGE`, `KV_CORRUPT` */
  static async stored(store: Store): Promise<MetaState | undefined> {
    const [sealed] = await store.getMany([SNAPSHOT_KEY])
    if (sealed === undefined) return undefined
    const state = new MetaState()
    unseal(SNAPSHOT_KEY, sealed, reader => state.restore(reader.rest()), corrupt)
    return state
  }

  apply(index: number, command: Uint8Array | undefined): void {
    if (this.#isClosed || index <= this.#state.epoch) return
    const rows = this.#state.apply(index, command)
    this.#recent.push({ index, command })
    if (this.#recent.length > 2 * RECENT_MAX) this.#recent = this.#recent.slice(-RECENT_MAX)
    this.#changed(rows)
  }

  snapshot(): Uint8Array {
    return this.#state.snapshot()
  }

  restore(_index: number, snapshot: Uint8Array): void {
    if (this.#isClosed || !this.#state.restore(snapshot)) return
    this.#recent = []
    this.#changed([])
  }

  /** Applies nothing more: this node leaves the cluster whose log it is, until it adopts another. */
  close(): void {
    this.#isClosed = true
  }

  /**
   * Goes over to the log of another cluster, along with what else the store has to hold or hold no more from then on. The
   * present one must be closed.
   *
   * @throws KilovoltError `KV_STORAGE`; everything stays as it was
   */
  async adopt(state: MetaState, changes: readonly StoreChange[]): Promise<void> {
    const { store } = this.#deps
    const write = this.#writing.then(() =>
      store.batch([...changes, seal(SNAPSHOT_KEY, state.snapshot())], { sync: true })
    )
    this.#writing = write.catch(() => {})
    await write
    this.#state = state
    this.#isClosed = false
    this.#recent = []
    this.#persisted = this.#settled = state.epoch
    this.#changed([])
  }

  /** What somebody at `epoch` lacks. */
  encodeDelta(epoch: number): Uint8Array {
    const missing = this.#recent.filter(({ index }) => index > epoch)
    const complete = missing.length > 0 ? missing[0]!.index === epoch + 1 : epoch >= this.epoch
    if (!complete) return new Writer(16_384).u8(Delta.SNAPSHOT).raw(this.snapshot()).finish()
    let bytes = 0
    const fits = ({ command }: Applied): boolean => {
      const isFirst = bytes === 0
      bytes += ENTRY_BYTES + (command?.length ?? 0)
      return isFirst || bytes <= DELTA_BYTES_MAX
    }
    const over = missing.findIndex(entry => !fits(entry))
    const sent = over === -1 ? missing : missing.slice(0, over)
    const writer = new Writer(1024).u8(Delta.ENTRIES).varint(sent.length)
    for (const { index, command } of sent) {
      writer.varint(index).bool(command !== undefined)
      if (command !== undefined) writer.bytes(command)
    }
    return writer.finish()
  }

  /** The whole state, as {@link MetaLog.encodeDelta} gives it for an epoch of -1. @throws KilovoltError `KV_PROTOCOL` */
  static readState(bytes: Uint8Array): MetaState {
    const reader = new Reader(bytes)
    const state = new MetaState()
    if (reader.u8() !== Delta.SNAPSHOT) throw new KilovoltError('KV_PROTOCOL', 'a snapshot was expected')
    state.restore(new Uint8Array(reader.rest()))
    return state
  }

  /**
   * Takes over the whole state, which a member has sent to a newcomer. Not one that has ended, or does not have the newcomer
   * in it: with that it could join no other cluster any more.
   *
   * @throws KilovoltError `KV_NOT_JOINED`, `KV_PROTOCOL`; the log stays as it was
   */
  enter(bytes: Uint8Array, newcomer: StoreId): void {
    const { topology, kinship } = MetaLog.readState(bytes)
    if (kinship.dissolvedInto !== undefined) throw new KilovoltError('KV_NOT_JOINED', 'the cluster has ended')
    if (topology?.members.has(newcomer) !== true)
      throw new KilovoltError('KV_NOT_JOINED', 'the cluster did not admit this node')
    this.applyDelta(bytes)
  }

  /** Applies what another member sent. @throws KilovoltError `KV_PROTOCOL` */
  applyDelta(bytes: Uint8Array): void {
    const reader = new Reader(bytes)
    if (reader.u8() === Delta.SNAPSHOT) return this.restore(0, new Uint8Array(reader.rest()))
    for (let left = reader.count(4 * RECENT_MAX, 2); left > 0; left--) {
      const index = reader.varint()
      const command = reader.bool() ? new Uint8Array(reader.bytes()) : undefined
      // A gap would be a fault of the sender: nothing may be left out.
      if (index === this.epoch + 1) this.apply(index, command)
    }
  }

  /** Resolves when the present state is in the store; what cannot be stored now is tried again with the next entry. */
  async flush(): Promise<void> {
    const { logger } = this.#deps
    await this.#write(false).catch((error: unknown) => {
      logger.warn('the topology could not be stored', { error: messageOf(error) })
    })
  }

  /**
   * Resolves when a restart cannot begin with an earlier epoch than this one; at once for a store that is gone with its
   * process, where a restart is a new member.
   *
   * @throws KilovoltError `KV_STORAGE`
   */
  async settle(epoch: number): Promise<void> {
    if (epoch > this.epoch) throw new RangeError(`epoch ${epoch} is not applied yet`)
    if (this.#deps.store.permanent && epoch > this.#settled) await this.#write(true, epoch)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#persistTimer?.cancel()
    await this.flush()
  }

  #changed(rows: readonly RowEvent[]): void {
    const { topology } = this.#state
    if (topology !== undefined) this.#events.emit('topology', topology)
    for (const row of rows) this.#events.emit('row', row)
    if (this.#stopped || !this.#deps.store.permanent || this.#persistTimer !== undefined) return
    this.#persistTimer = this.#deps.clock.after(PERSIST_EVERY_MS, () => {
      this.#persistTimer = undefined
      void this.flush()
    })
  }

  /** One write after another, each of the state as it then is; those that have become needless are left out. */
  #write(sync: boolean, wanted = Infinity): Promise<void> {
    const writing = this.#writing.then(async () => {
      const { epoch } = this
      const stored = sync ? this.#settled : this.#persisted
      if (stored >= Math.min(epoch, wanted) || !this.#deps.store.permanent) return
      await this.#deps.store.batch([seal(SNAPSHOT_KEY, this.snapshot())], { sync })
      this.#persisted = Math.max(this.#persisted, epoch)
      if (sync) this.#settled = epoch
    })
    this.#writing = writing.catch(() => {})
    return writing
  }
}

/**
 * Others could be asked for it, but what they give may be older than an epoch that this node has promised not to
 * forget.
 */
function corrupt(why: string): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the state of the cluster in the store cannot be trusted (it ${why}): start this node with an empty store, and it ` +
      'joins anew'
  )
}
