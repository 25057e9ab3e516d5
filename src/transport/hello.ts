import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, type ClusterId, type StoreId, idFromBytes, idToBytes } from '../model/node-id.ts'

/** Newest wire protocol that this code speaks. */
export const WIRE_VERSION = 1
/** Oldest wire protocol that this code speaks. */
export const WIRE_VERSION_MIN = 1

/** The first thing two nodes tell each other on a link. */
export interface Hello {
  readonly version: number
  readonly versionMin: number
  /** Name of the cluster: nodes of different names never mix. */
  readonly cluster: string
  /** The cluster this node is a member of; `undefined` while it is provisional. */
  readonly clusterId: ClusterId | undefined
  readonly storeId: StoreId
  /** Number of partitions it was configured with. */
  readonly partitions: number
  /** Addresses to reach it by, itself included or not. */
  readonly addresses: readonly string[]
  readonly weight: number
  readonly zone: string
  readonly region: string
  /** Whether its data is gone with its process. */
  readonly volatile: boolean
  readonly epoch: number
  /** Its wall clock, Unix ms, when this was sent. */
  readonly wallMs: number
  /** Which run of its node this is, as `createLife` made it. */
  readonly life?: string
}

/** Bytes of the name of a life. */
export const LIFE_BYTES = 12
const NAME_BYTES_MAX = 64
const ADDRESS_BYTES_MAX = 256
const ADDRESSES_MAX = 32

export function encodeHello(hello: Hello): Uint8Array {
  const writer = new Writer(256)
    .u8(hello.version)
    .u8(hello.versionMin)
    .text(hello.cluster)
    .raw(hello.clusterId === undefined ? new Uint8Array(ID_BYTES) : idToBytes(hello.clusterId))
    .raw(idToBytes(hello.storeId))
    .varint(hello.partitions)
    .varint(Math.round(hello.weight * 1000))
    .text(hello.zone)
    .text(hello.region)
    .bool(hello.volatile)
    .varint(hello.epoch)
    .varint(Math.max(0, Math.floor(hello.wallMs)))
    .varint(hello.addresses.length)
  for (const address of hello.addresses) writer.text(address)
  if (hello.life !== undefined) writer.raw(Buffer.from(hello.life, 'hex'))
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL`; fields added by later versions are skipped */
export function decodeHello(bytes: Uint8Array): Hello {
  const reader = new Reader(bytes)
  const version = reader.u8()
  const versionMin = reader.u8()
  const cluster = reader.text(NAME_BYTES_MAX)
  const clusterBytes = reader.raw(ID_BYTES)
  const storeId = idFromBytes<StoreId>(reader.raw(ID_BYTES))
  const partitions = reader.varint()
  const weight = reader.varint() / 1000
  const zone = reader.text(NAME_BYTES_MAX)
  const region = reader.text(NAME_BYTES_MAX)
  const volatile = reader.bool()
  const epoch = reader.varint()
  const wallMs = reader.varint()
  const addresses: string[] = []
  for (let left = reader.count(ADDRESSES_MAX); left > 0; left--) addresses.push(reader.text(ADDRESS_BYTES_MAX))
  const life = reader.remaining < LIFE_BYTES ? undefined : Buffer.from(reader.raw(LIFE_BYTES)).toString('hex')
  const clusterId = clusterBytes.every(byte => byte === 0) ? undefined : idFromBytes<ClusterId>(clusterBytes)
  return {
    version,
    versionMin,
    cluster,
    clusterId,
    storeId,
    partitions,
    addresses,
    weight,
    zone,
    region,
    volatile,
    epoch,
    wallMs,
    ...(life === undefined ? {} : { life })
  }
}

/**
 * Why two nodes cannot talk, naming both values; `undefined` when they can. Differing cluster ids are no reason here:
 * what happens when two clusters of one name meet is for the cluster floor to decide.
 */
export function helloProblem(own: Hello, other: Hello): KilovoltError | undefined {
  const refuse = (what: string): KilovoltError => new KilovoltError('KV_HANDSHAKE', what, { details: { own, other } })
  if (own.cluster !== other.cluster) {
    return refuse(`this node belongs to cluster "${own.cluster}", the other to "${other.cluster}"`)
  }
  if (own.version < other.versionMin || other.version < own.versionMin) {
    return refuse(
      `this node speaks wire versions ${own.versionMin}–${own.version}, the other ${other.versionMin}–${other.version}`
    )
  }
  if (own.partitions !== other.partitions) {
    return refuse(`this node is set to ${own.partitions} partitions, the other to ${other.partitions}`)
  }
  if (own.storeId === other.storeId) {
    return refuse(`both nodes have the store id ${own.storeId}: the same storage is open twice, or was copied`)
  }
  return undefined
}
