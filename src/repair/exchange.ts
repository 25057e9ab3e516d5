import { compareBytes, toHex } from '../base/bytes.ts'
import { createDeferred } from '../base/deferred.ts'
import { KilovoltError } from '../base/errors.ts'
import type { TreeRoot } from '../model/hash-tree.ts'
import type { PeerId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecordStamps, recordHead } from '../model/record.ts'
import type { Replica } from '../replication/replica.ts'
import { decodeGetReply, decodePutReply, encodeGet, encodePut, type PutRequest } from '../replication/wire.ts'
import type { Clock } from '../runtime/clock.ts'
import { comparePlaces, type RecordKey, type RecordStore } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
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
  type RootsReply
} from './exchange-wire.ts'
import type { CopyCursor } from './wire.ts'

/** What an exchange needs. */
export interface ExchangeDeps {
  readonly transport: Transport
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly replica: Replica
  readonly clock: Clock
  readonly epoch: () => number
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
  readonly result: ExchangeResult = { differences: 0, mended: 0, bytes: 0 }

  constructor(deps: ExchangeDeps, peer: PeerId) {
    this.#deps = deps
    this.#peer = peer
  }

  /** Asks which of some partitions differ. */
  async compare(partitions: readonly PartitionId[]): Promise<RootsReply> {
    const { trees } = this.#deps
    const roots: (readonly [PartitionId, TreeRoot])[] = []
    const unknown: PartitionId[] = []
    for (const partition of partitions) {
      const root = trees.rootOf(partition)
      if (root === undefined) unknown.push(partition)
      else roots.push([partition, root])
    }
    const reply = decodeRootsReply(await this.#ask(MessageType.ROOTS, encodeRoots({ roots })))
    return { differing: reply.differing, unknown: [...unknown, ...reply.unknown] }
  }

  /** Mends one partition at both sides. */
  async mend(partition: PartitionId): Promise<void> {
    const tree = this.#deps.trees.treeOf(partition)
    if (tree === undefined) return
    const leaves = decodeLeavesReply(await this.#ask(MessageType.LEAVES, encodeLeaves({ partition, tree })))
    if (leaves.length === 0) return
    let after: CopyCursor | undefined
    do {
      // A page of this side, then as much of it as makes a page of the other: neither side holds more than one.
      const ours = await headsOf(this.#deps, { partition, leaves, after, upTo: undefined })
      const request: KeysRequest = { partition, leaves, after, upTo: ours.reached }
      const theirs = decodeKeysReply(await this.#ask(MessageType.KEYS, encodeKeys(request)))
      await this.#settle(partition, theirs.heads, upTo(ours.heads, theirs.reached))
      after = theirs.reached ?? ours.reached
      await this.#deps.rest()
    } while (after !== undefined)
  }

  /** Compares the same stretch of both sides. */
  async #settle(partition: PartitionId, theirs: readonly RecordHead[], ours: readonly RecordHead[]): Promise<void> {
    const held = new Map(ours.map(head => [nameOf(head), head]))
    const jobs: (() => Promise<boolean>)[] = []
    for (const { keyspace, key, head } of theirs) {
      const name = nameOf({ keyspace, key })
      const own = held.get(name)
      held.delete(name)
      const place = { partition, keyspace, key }
      const order = own === undefined ? 1 : compareRecordStamps(head, own.head) || compareBytes(head, own.head)
      if (order > 0) jobs.push(() => this.#fetch(place))
      else if (order < 0) jobs.push(() => this.#send(place))
    }
    for (const { keyspace, key } of held.values()) jobs.push(() => this.#send({ partition, keyspace, key }))
    this.result.differences += jobs.length
    for (let at = 0; at < jobs.length; at += MEND_AT_ONCE) {
      const done = await Promise.all(jobs.slice(at, at + MEND_AT_ONCE).map(job => job()))
      this.result.mended += done.filter(Boolean).length
    }
  }

  /** Takes the peer's version; false when it has gone meanwhile, or could not be stored. */
  async #fetch(place: RecordKey): Promise<boolean> {
    const { replica, epoch } = this.#deps
    const reply = decodeGetReply(
      await this.#ask(MessageType.GET, encodeGet({ ...place, exempt: false, known: undefined }))
    )
    if (reply.kind !== 'record') return false
    const request: PutRequest = { ...place, record: reply.record, exempt: false, repair: true }
    return new Promise(resolve => {
      replica.put(request, epoch(), (error, result) => resolve(error === undefined && result?.kind !== 'fenced'))
    })
  }

  /** Gives the peer this node's version. */
  async #send(place: RecordKey): Promise<boolean> {
    const record = await this.#deps.records.get(place)
    if (record === undefined) return false
    const body = encodePut({ ...place, record, exempt: false, repair: true })
    return decodePutReply(await this.#ask(MessageType.PUT, body)).kind !== 'fenced'
  }

  #ask(type: MessageType, body: Uint8Array): Promise<Uint8Array> {
    const { promise, resolve, reject } = createDeferred<Uint8Array>()
    this.result.bytes += body.length
    const request = { type, class: 'bulk', body, timeoutMs: TIMEOUT_MS } as const
    this.#deps.transport.request(this.#peer, request, outcome => {
      if (outcome.kind === 'reply') {
        this.result.bytes += outcome.body.length
        resolve(outcome.body)
      } else if (outcome.kind === 'refused') reject(outcome.error)
      else reject(new KilovoltError('KV_UNREACHABLE', `${this.#peer} did not answer (${outcome.kind})`))
    })
    return promise
  }
}

/** What a store holds under some leaves of a partition: as much as one page of its records shows. */
export async function headsOf(
  { records, trees }: Pick<ExchangeDeps, 'records' | 'trees'>,
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
