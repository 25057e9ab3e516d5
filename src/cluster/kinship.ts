import type { Reader } from '../codec/reader.ts'
import type { Writer } from '../codec/writer.ts'
import { type ClusterId, ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import type { Command } from './commands.ts'

/** What decides which of two clusters of one name takes the other in. */
export interface Standing {
  readonly clusterId: ClusterId
  readonly members: number
  /** Wall clock at the founding, Unix ms. */
  readonly foundedMs: number
}

/** Whether the members of `b` are to join `a`: the larger cluster stays, then the older one, then the one with the smaller id. */
export function outranks(a: Standing, b: Standing): boolean {
  if (a.members !== b.members) return a.members > b.members
  if (a.foundedMs !== b.foundedMs) return a.foundedMs < b.foundedMs
  return a.clusterId < b.clusterId
}

/** Clusters that are remembered; the oldest are forgotten first. */
const KIN_MAX = 256
const EXPECTED_MAX = 4096

/**
 * What a cluster's log says of others of the same name (rules M2 and M3). Part of the replicated state, so deterministic.
 *
 * A cluster that is taking another in is pinned: it does not dissolve until that is over, so that it still is there when the
 * other has dissolved, and two clusters never dissolve into each other.
 */
export class Kinship {
  /** Wall clock at the founding, Unix ms. */
  foundedMs = 0
  #dissolvedInto: ClusterId | undefined
  #absorbing: ReadonlySet<ClusterId> = new Set()
  #absorbed: ReadonlySet<ClusterId> = new Set()
  #lineage: ReadonlySet<ClusterId> = new Set()
  /** Members of the clusters that may dissolve into this one. */
  #expected: ReadonlyMap<ClusterId, readonly StoreId[]> = new Map()

  /** Where the members of this cluster belong now; the log ends with it. */
  get dissolvedInto(): ClusterId | undefined {
    return this.#dissolvedInto
  }

  /** Clusters that may dissolve into this one. */
  get absorbing(): ReadonlySet<ClusterId> {
    return this.#absorbing
  }

  /** Clusters that have dissolved into this one, or into one of those. */
  get absorbed(): ReadonlySet<ClusterId> {
    return this.#absorbed
  }

  /** Clusters that this one continues, since nobody could lead them any more. */
  get lineage(): ReadonlySet<ClusterId> {
    return this.#lineage
  }

  absorb({ cluster, absorbed, members }: Extract<Command, { kind: 'absorb' }>): void {
    this.#expected = new Map([...this.#expected, [cluster, members.map(({ storeId }) => storeId)]])
    this.#absorbing = added(this.#absorbing, [cluster])
    this.#absorbed = added(this.#absorbed, absorbed)
  }

  /** The cluster was not taken in; returns who was expected from it, and is not from another one that it became. */
  cancel(cluster: ClusterId): readonly StoreId[] {
    if (!this.#absorbing.has(cluster)) return []
    this.#absorbing = removed(this.#absorbing, [cluster])
    const expected = this.#forget([cluster])
    const still = new Set([...this.#expected.values()].flat())
    return expected.filter(store => !still.has(store))
  }

  /** A member of these clusters has come over, so they have ended. */
  cameOver(former: readonly ClusterId[]): void {
    if (former.length === 0) return
    this.#absorbing = removed(this.#absorbing, former)
    this.#forget(former)
    // Where this one was founded for another, that may live on after all, and only who finds nobody to lead it has to come.
    const ended = former.filter(cluster => !this.#lineage.has(cluster))
    this.#absorbed = added(this.#absorbed, ended)
  }

  #forget(clusters: readonly ClusterId[]): readonly StoreId[] {
    const expected = clusters.flatMap(cluster => this.#expected.get(cluster) ?? [])
    this.#expected = new Map([...this.#expected].filter(([cluster]) => !clusters.includes(cluster)))
    return expected
  }

  /** Ends this cluster, unless it is pinned. */
  dissolve(into: ClusterId): void {
    if (this.#absorbing.size === 0) this.#dissolvedInto ??= into
  }

  /** This cluster goes on for another. */
  descend(ancestor: ClusterId, { absorbed, lineage }: Kinship): void {
    this.#absorbed = absorbed
    this.#lineage = added(lineage, [ancestor])
  }

  write(writer: Writer): void {
    writer.varint(this.foundedMs).bool(this.#dissolvedInto !== undefined)
    if (this.#dissolvedInto !== undefined) writer.raw(idToBytes(this.#dissolvedInto))
    for (const clusters of [this.#absorbing, this.#absorbed, this.#lineage]) writeClusters(writer, [...clusters])
    writer.varint(this.#expected.size)
    for (const [cluster, stores] of this.#expected) {
      writer.raw(idToBytes(cluster)).varint(stores.length)
      for (const store of stores) writer.raw(idToBytes(store))
    }
  }

  /** @throws KilovoltError `KV_PROTOCOL` */
  static read(reader: Reader): Kinship {
    const kinship = new Kinship()
    kinship.foundedMs = reader.varint()
    if (reader.bool()) kinship.#dissolvedInto = readCluster(reader)
    kinship.#absorbing = new Set(readClusters(reader))
    kinship.#absorbed = new Set(readClusters(reader))
    kinship.#lineage = new Set(readClusters(reader))
    const expected = new Map<ClusterId, StoreId[]>()
    for (let left = reader.count(KIN_MAX); left > 0; left--) {
      const stores: StoreId[] = []
      expected.set(readCluster(reader), stores)
      for (let more = reader.count(EXPECTED_MAX, ID_BYTES); more > 0; more--)
        stores.push(idFromBytes(reader.raw(ID_BYTES)))
    }
    kinship.#expected = expected
    return kinship
  }
}

export function writeClusters(writer: Writer, clusters: readonly ClusterId[]): Writer {
  writer.varint(Math.min(clusters.length, KIN_MAX))
  for (const cluster of clusters.slice(-KIN_MAX)) writer.raw(idToBytes(cluster))
  return writer
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readClusters(reader: Reader): ClusterId[] {
  const clusters: ClusterId[] = []
  for (let left = reader.count(KIN_MAX, ID_BYTES); left > 0; left--) clusters.push(readCluster(reader))
  return clusters
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readCluster(reader: Reader): ClusterId {
  return idFromBytes(reader.raw(ID_BYTES))
}

function added(before: ReadonlySet<ClusterId>, more: readonly ClusterId[]): ReadonlySet<ClusterId> {
  return new Set([...before, ...more].slice(-KIN_MAX))
}

function removed(before: ReadonlySet<ClusterId>, gone: readonly ClusterId[]): ReadonlySet<ClusterId> {
  return new Set([...before].filter(cluster => !gone.includes(cluster)))
}
