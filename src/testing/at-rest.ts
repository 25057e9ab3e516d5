import { utf8 } from '../base/bytes.ts'
import { HashTree, RecordDigest, type TreeRoot } from '../model/hash-tree.ts'
import { compareIds, type StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isSpent, type RecordBytes } from '../model/record.ts'
import { isSettled } from '../node/settled.ts'
import { dataKey, partitionRange } from '../storage/key-layout.ts'
import type { ReplicaPicture } from './checkers/replicas.ts'
import { checkViews } from './checkers/views.ts'
import { intactRecord } from './rot.ts'
import type { SimNode } from './sim-node.ts'

/**
 * Why a cluster is not at rest, or `undefined` when it is: all nodes are members of one cluster at one epoch, agree on
 * the leader, nothing moves, the members of the log are those that run, and all views are equal.
 */
export function restProblem(nodes: readonly SimNode[], expected: readonly string[]): string | undefined {
  const missing = expected.filter(name => !nodes.some(node => node.name === name))
  if (missing.length > 0) return `${missing.join(', ')} did not start`
  const [first] = nodes
  if (first === undefined) return undefined
  const running = nodes.map(({ core }) => core.storeId).toSorted(compareIds)
  const leaders = new Set<StoreId>()
  for (const { name, core } of nodes) {
    const { topology, phase, leader } = core.cluster
    if (topology === undefined || phase !== 'member') return `${name} is ${phase}`
    if (topology.clusterId !== first.core.cluster.topology?.clusterId)
      return `${name} is in another cluster than ${first.name}`
    if (topology.epoch !== first.core.cluster.topology.epoch) return `${name} is at another epoch than ${first.name}`
    // Who does not vote need not know the leader; but no two may be known.
    if (leader !== undefined) leaders.add(leader)
    if (leaders.size > 1) return `${name} knows another leader than others: ${[...leaders].join(', ')}`
    const up = [...topology.members.values()].filter(({ status }) => status === 'up').map(({ storeId }) => storeId)
    if (up.toSorted(compareIds).join() !== running.join()) return `${name} has other members in its topology than run`
    const unlinked = nodes.find(other => other.core !== core && !core.transport.isLinked(other.core.transport.self))
    if (unlinked !== undefined) return `${name} has no link to ${unlinked.name}`
    const lost = topology.rows.findIndex(({ slots }) => slots.some(store => !running.includes(store)))
    if (lost !== -1) return `partition ${lost} has an owner that does not run, says ${name}`
    if (!isSettled(topology)) return `partitions move, says ${name}`
  }
  if (leaders.size === 0) return 'nobody knows a leader'
  const [view] = checkViews(new Map(nodes.map(({ core }) => [core.storeId, core.membership.view])))
  return view?.message
}

/**
 * Whether one node's data may be lost now: all machines run, all in one cluster, and whoever the latest topology counts
 * on (members, owners) is among them, so that every acknowledged write has all the copies that it was promised.
 */
export function canLoseOne(nodes: readonly SimNode[], expected: readonly string[]): boolean {
  // Of fewer copies than three none may be lost.
  if (expected.length < 3 || nodes.length < expected.length) return false
  // Those that all leave together have nobody to hand over to, and end: somebody has to stay beside the one that goes.
  if (nodes.filter(({ core }) => core.cluster.phase !== 'leaving').length < 2) return false
  const running = new Set(nodes.map(({ core }) => core.storeId))
  const latest = nodes
    .map(({ core }) => core.cluster.topology)
    .reduce((a, b) => (a !== undefined && (b === undefined || a.epoch > b.epoch) ? a : b))
  return (
    latest !== undefined &&
    nodes.every(({ core }) => core.cluster.topology?.clusterId === latest.clusterId) &&
    [...latest.members.values()].every(({ storeId, status }) => status === 'up' && running.has(storeId)) &&
    latest.rows.every(({ slots }) => slots.length >= 3 && slots.every(store => running.has(store)))
  )
}

/**
 * Why the copies of partitions are not the same everywhere, told by their hash trees alone, or `undefined` when they are.
 * A tree that does not tell what its disk holds is a problem as well.
 */
export function treeProblem(nodes: readonly SimNode[]): string | undefined {
  const topology = nodes[0]?.core.cluster.topology
  if (topology === undefined) return 'no topology is known'
  const byId = new Map(nodes.map(node => [node.core.storeId, node]))
  for (const [partition, { slots }] of topology.rows.entries()) {
    const roots = new Set<string>()
    for (const store of slots) {
      const node = byId.get(store)
      const root = node?.core.trees.rootOf(partition)
      // Whoever is the only owner has nobody to compare with.
      if (node === undefined || (root === undefined && slots.length > 1)) return `${store} has no tree of ${partition}`
      if (root === undefined) continue
      roots.add(show(root))
      const held = show(rootOnDisk(node, partition))
      if (held !== show(root))
        return `${node.name} takes ${show(root)} for the root of ${partition}; its disk has ${held}`
    }
    if (roots.size > 1) return `the owners of partition ${partition} have different roots: ${[...roots].join(', ')}`
  }
  return undefined
}

/**
 * Who still holds records that say "deleted" although everybody purges, or `undefined` when nobody does. Nobody does while
 * clocks are so far apart that what is the past to one is not to another.
 */
export function purgeProblem(nodes: readonly SimNode[]): string | undefined {
  const clocks = nodes.map(({ clock }) => clock.wallMs())
  const apartMs = Math.max(...clocks) - Math.min(...clocks)
  const purges = ({ core }: SimNode): boolean =>
    core.config.purgeIntervalMs !== Infinity && apartMs < core.config.purgeLagMs / 2
  if (!nodes.every(purges)) return undefined
  for (const { name, core } of nodes) {
    const partition = core.cluster.topology?.rows.findIndex((_, i) => (core.trees.mortalsIn(i) ?? 0) > 0)
    if (partition !== undefined && partition !== -1)
      return `${name} has not purged partition ${partition}; its rounds wait for ${core.status().purge.blockedBy.join(', ') || 'nobody'}`
  }
  return undefined
}

/** Who still holds records that it knows to be damaged, or `undefined` when nobody does. */
export function damageProblem(nodes: readonly SimNode[]): string | undefined {
  const holder = nodes.find(({ core }) => core.status().storage.corruptLeft > 0)
  return holder && `${holder.name} still holds ${holder.core.status().storage.corruptLeft} damaged records`
}

/** Who still keeps records for others, who all live, or `undefined` when nobody does. */
export function hintProblem(nodes: readonly SimNode[]): string | undefined {
  const keeper = nodes.find(({ core }) => core.status().hints.count > 0)
  return keeper && `${keeper.name} still keeps ${keeper.core.status().hints.count} records for others`
}

function rootOnDisk({ machine }: SimNode, partition: PartitionId): TreeRoot {
  const tree = new HashTree()
  const digest = new RecordDigest()
  for (const storeKey of machine.disk.keys(partitionRange(partition))) {
    const record = intactRecord(machine.disk, storeKey)
    // A damaged one is in no tree: nobody knows what it was.
    if (record === undefined) continue
    tree.add(digest.name(storeKey), digest.of(record))
  }
  return tree.root()
}

function show({ hi, lo, count }: TreeRoot): string {
  return `${hi.toString(16)}.${lo.toString(16)} of ${count}`
}

/** What each node's disk holds of some keys of the default keyspace, and who owns them. */
export function replicaPictures(nodes: readonly SimNode[], keys: readonly string[]): ReplicaPicture[] {
  const topology = nodes[0]?.core.cluster.topology
  const ring = nodes[0]?.core.ring
  if (topology === undefined || ring === undefined) return []
  return keys.map(key => {
    const bytes = utf8(key)
    const partition = ring.partitionOf(bytes)
    const held = new Map<StoreId, RecordBytes>()
    const horizon = Math.max(...nodes.map(({ core }) => core.horizons.horizonOf(partition)))
    for (const { core, machine } of nodes) {
      const record = intactRecord(machine.disk, dataKey(partition, new Uint8Array(0), bytes))
      // What is being purged just now may be gone from some and not yet from others.
      if (record !== undefined && !isSpent(record, horizon)) held.set(core.storeId, record)
    }
    return { key, owners: topology.rows[partition]!.slots, held }
  })
}
