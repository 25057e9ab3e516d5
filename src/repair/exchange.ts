import { compareBytes, toHex } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecordStamps, hasEitherSiblings, type RecordBytes, recordHead } from '../model/record.ts'
import type { Replica } from '../replication/replica.ts'
import {
  decodeGetReply,
  decodePutReply,
  encodeGet,
  encodePut,
  type PutReply,
  type PutRequest
} from '../replication/wire.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Horizons } from '../storage/horizons.ts'
import { comparePlaces, type RecordKey, type RecordStore, type StoredRecord } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { ask } from './ask.ts'
import {
  decodeKeysReply,
  decodeLeavesReply,
  decodeRootsReply,
  encodeKeys,
  encodeLeaves,
  encodeRoots,
  type KeysReply,
  type KeysRequest,
  type RecordHead,
  type RootsReply,
  type RootsRequest
} from './exchange-wire.ts'
import type { CopyCursor } from './wire.ts'

/** What an exchange needs. */
export interface ExchangeDeps {
  readonly transport: Transport
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly replica: Replica
  readonly clock: Clock
  readonly epoch: () => number
  /** Another owner's past is settled further than here. */
  readonly adopt: (partition: PartitionId, horizon: number) => void
  /** Lets others work between two pages; rejects when the node stops. */
  readonly rest: () => Promise<void>
}

/** What came of an exchange. */
export interface ExchangeResult {
  /** Records that one side had and the other had not, or only in an older version. */
  differences: number
  /** Of those, how many both hold now. */
  mended: number
  /** Bytes of requests and replies. */
  bytes: number
}

/** Which partitions have to be looked at more closely. */
export interface Comparison extends Pick<RootsReply, 'differing' | 'unknown'> {
  /** The latest epoch that the peer has shown. */
  readonly epoch: number
}

const TIMEOUT_MS = 10_000
/** Records looked at for one page of keys, and the bytes of them. */
const PAGE_RECORDS = 1000
const PAGE_BYTES = 256 * 1024
/** Records of one page that are fetched or sent at the same time. */
const MEND_AT_ONCE = 32

/**
 * Brings one partition of two replicas together: leaves that differ, then the versions under those leaves, then only the
 * records of which one side has none, or an older one. They pass through the replica's door at either side, newest wins,
 * so the exchange may be broken off anywhere and needs nobody to stand still.
 */
export class Exchange {
  readonly #deps: ExchangeDeps
  readonly #peer: PeerId
  /** The latest epoch that the peer has shown. */
  #epoch = 0
  readonly result: ExchangeResult = { differences: 0, mended: 0, bytes: 0 }

  constructor(deps: ExchangeDeps, peer: PeerId) {
    this.#deps = deps
    this.#peer = peer
  }

  /**
   * Asks which of some partitions differ. Those of which one side has a later horizon do not compare; whoever is behind
   * follows, and they are among the unknown until it has.
   */
  async compare(partitions: readonly PartitionId[]): Promise<Comparison> {
    const { trees, horizons, adopt } = this.#deps
    const roots: RootsRequest['roots'][number][] = []
    const unknown: PartitionId[] = []
    for (const partition of partitions) {
      const root = horizons.isPurged(partition) ? trees.rootOf(partition) : undefined
      if (root === undefined) unknown.push(partition)
      else roots.push({ partition, root, horizon: horizons.horizonOf(partition) })
    }
    const {
      differing,
      unknown: theirs,
      ahead
    } = decodeRootsReply(await this.#ask(MessageType.ROOTS, encodeRoots({ roots })))
    for (const [partition, horizon] of ahead) adopt(partition, horizon)
    return { differing, unknown: [...unknown, ...theirs, ...ahead.map(([partition]) => partition)], epoch: this.#epoch }
  }

  /**
   * Mends one partition at both sides.
   *
   * @throws KilovoltError `KV_UNREACHABLE`, or why the other side could not answer; what was mended before stays so
   */
  mend(partition: PartitionId): Promise<void> {
    return this.#walk(partition, (ours, theirs) => this.#settle(partition, theirs, ours))
  }

  /**
   * Gives the peer whatever it lacks of a partition that this node does not own any more.
   *
   * @param isStranger - whether this node was forgotten meanwhile: what it brings is new to the owners then (rule G3)
   * @param refused - told of each record that came too late
   * @throws as {@link Exchange.mend}, and `KV_UNREACHABLE` when something was not taken
   */
  give(partition: PartitionId, isStranger: boolean, refused: (stored: StoredRecord) => Promise<void>): Promise<void> {
    const send = async (place: RecordKey): Promise<boolean> => {
      const record = await unlessDamaged(Promise.resolve(this.#deps.records.get(place)))
      // What is gone or damaged here cannot be given to anybody.
      if (record === undefined) return true
      const kind = await this.#put(place, record, !isStranger)
      if (kind === 'late') await refused({ ...place, record })
      return isTaken(kind)
    }
    return this.#walk(partition, async (ours, theirs) => {
      const { here } = compareHeads(partition, ours, theirs)
      const before = this.result.mended
      await this.#run(here.map(place => () => send(place)))
      if (this.result.mended - before < here.length)
        throw new KilovoltError('KV_UNREACHABLE', `${this.#peer} does not take all of partition ${partition}`)
    })
  }

  /** Goes through what differs of a partition, a stretch at a time. */
  async #walk(
    partition: PartitionId,
    visit: (ours: readonly RecordHead[], theirs: readonly RecordHead[]) => Promise<void>
  ): Promise<void> {
    const tree = this.#deps.trees.treeOf(partition)
    if (tree === undefined) throw new KilovoltError('KV_STORAGE', `the hash tree of ${partition} is not known`)
    const leaves = decodeLeavesReply(await this.#ask(MessageType.LEAVES, encodeLeaves({ partition, tree })))
    if (leaves.length === 0) return
    let after: CopyCursor | undefined
    do {
      // A page of this side, then as much of it as makes a page of the other: neither side holds more than one.
      const ours = await headsOf(this.#deps, { partition, leaves, after, upTo: undefined })
      const request: KeysRequest = { partition, leaves, after, upTo: ours.reached }
      const theirs = decodeKeysReply(await this.#ask(MessageType.KEYS, encodeKeys(request)))
      await visit(upTo(ours.heads, theirs.reached), theirs.heads)
      after = theirs.reached ?? ours.reached
      await this.#deps.rest()
    } while (after !== undefined)
  }

  /** Compares the same stretch of both sides. */
  async #settle(partition: PartitionId, theirs: readonly RecordHead[], ours: readonly RecordHead[]): Promise<void> {
    const { here, there } = compareHeads(partition, ours, theirs)
    await this.#run([...there.map(place => () => this.#fetch(place)), ...here.map(place => () => this.#send(place))])
  }

  async #run(jobs: readonly (() => Promise<boolean>)[]): Promise<void> {
    this.result.differences += jobs.length
    for (let at = 0; at < jobs.length; at += MEND_AT_ONCE) {
      const done = await Promise.all(jobs.slice(at, at + MEND_AT_ONCE).map(job => job()))
      this.result.mended += done.filter(Boolean).length
    }
  }

  /** Takes the peer's version; false when it has gone meanwhile, is damaged, or could not be stored. */
  async #fetch(place: RecordKey): Promise<boolean> {
    const { replica, epoch } = this.#deps
    const found = await unlessDamaged(
      this.#ask(MessageType.GET, encodeGet({ ...place, exempt: false, known: undefined }))
    )
    if (found === undefined) return false
    const reply = decodeGetReply(found)
    if (reply.kind !== 'record') return false
    const request: PutRequest = { ...place, record: reply.record, exempt: false, repair: true }
    return new Promise(resolve => {
      replica.put(request, epoch(), (error, result) => resolve(error === undefined && result?.kind !== 'fenced'))
    })
  }

  /** Gives the peer this node's version; false when that is gone or damaged, or was not taken. */
  async #send(place: RecordKey): Promise<boolean> {
    const record = await unlessDamaged(Promise.resolve(this.#deps.records.get(place)))
    return record !== undefined && isTaken(await this.#put(place, record, true))
  }

  /** What the peer says to a record; `undefined` when a damaged one lies there, which it heals itself. */
  async #put(
    { partition, keyspace, key }: RecordKey,
    record: RecordBytes,
    repair: boolean
  ): Promise<PutReply['kind'] | undefined> {
    const body = encodePut({ partition, keyspace, key, record, exempt: false, repair })
    const reply = await unlessDamaged(this.#ask(MessageType.PUT, body))
    return reply && decodePutReply(reply).kind
  }

  async #ask(type: MessageType, body: Uint8Array): Promise<Uint8Array> {
    this.result.bytes += body.length
    const request = { type, class: 'bulk', body, timeoutMs: TIMEOUT_MS } as const
    const reply = await ask(this.#deps.transport, this.#peer, request)
    this.result.bytes += reply.body.length
    this.#epoch = Math.max(this.#epoch, reply.epoch)
    return reply.body
  }
}

function isTaken(kind: PutReply['kind'] | undefined): boolean {
  return kind !== undefined && kind !== 'fenced'
}

/** Nothing, when a damaged record is in the way: one must not keep the others of its partition from being mended. */
async function unlessDamaged<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found
  } catch (error) {
    if (isKilovoltError(error, 'KV_CORRUPT')) return undefined
    throw error
  }
}

/** Where each side of the same stretch has something newer, or something that the other has not. */
function compareHeads(
  partition: PartitionId,
  ours: readonly RecordHead[],
  theirs: readonly RecordHead[]
): { readonly here: readonly RecordKey[]; readonly there: readonly RecordKey[] } {
  const here: RecordKey[] = []
  const there: RecordKey[] = []
  const held = new Map(ours.map(head => [nameOf(head), head]))
  for (const { keyspace, key, head } of theirs) {
    const name = nameOf({ keyspace, key })
    const own = held.get(name)
    held.delete(name)
    const order = own === undefined ? 1 : compareRecordStamps(head, own.head) || compareBytes(head, own.head)
    if (order === 0) continue
    // Of siblings each side may have some that the other has not.
    const isBoth = own !== undefined && hasEitherSiblings(head, own.head)
    if (order > 0 || isBoth) there.push({ partition, keyspace, key })
    if (order < 0 || isBoth) here.push({ partition, keyspace, key })
  }
  for (const { keyspace, key } of held.values()) here.push({ partition, keyspace, key })
  return { here, there }
}

/** What a store holds under some leaves of a partition: as much as one page of its records shows. */
export async function headsOf(
  { records, trees }: { readonly records: RecordStore; readonly trees: TreeIndex },
  { partition, leaves, after, upTo: end }: KeysRequest
): Promise<KeysReply> {
  const wanted = new Set(leaves)
  const page = await records.page(partition, after, PAGE_RECORDS, PAGE_BYTES)
  const inside = upTo(page, end)
  const heads = inside
    .filter(place => wanted.has(trees.leafOf(place)))
    .map(({ keyspace, key, record }) => ({ keyspace, key, head: recordHead(record) }))
  const last = inside.at(-1)
  const isAll = last === undefined || inside.length < page.length
  return { heads, reached: isAll ? undefined : { keyspace: last.keyspace, key: last.key } }
}

/** Those that do not lie beyond a position. */
function upTo<T extends CopyCursor>(places: readonly T[], end: CopyCursor | undefined): T[] {
  if (end === undefined) return [...places]
  return places.filter(place => comparePlaces(place, end) <= 0)
}

function nameOf({ keyspace, key }: { readonly keyspace: Uint8Array; readonly key: Uint8Array }): string {
  return `${toHex(keyspace)}/${toHex(key)}`
}
