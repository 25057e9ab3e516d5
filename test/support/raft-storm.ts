import assert from 'node:assert/strict'
import type { RaftRules } from '../../src/consensus/rules.ts'
import { SOUND_RAFT_RULES } from '../../src/consensus/rules.ts'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { type Random, shuffle } from '../../src/runtime/random.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import { EMPTY_LOG_STATE } from '../../src/consensus/raft-log.ts'
import { RaftNetwork, type RaftNode, foundedBy, storeId } from './raft-network.ts'

/** What a storm did, to show that it was one. */
export interface StormReport {
  committed: number
  terms: number
  reads: number
  crashes: number
  changes: number
  snapshots: number
}

/** What a storm is about. */
export interface StormOptions {
  readonly rules?: RaftRules
  /** Deeds to choose from. Default: some of all. */
  readonly only?: readonly string[]
  /** Voters to begin with. Default: any number. */
  readonly voters?: number
}

const NODES = 5
const STEPS = 150

/** One kind of thing that can happen. */
type Deed = (storm: Storm, step: number) => void

interface Storm {
  readonly net: RaftNetwork
  readonly random: Random
  readonly ids: readonly StoreId[]
  /** Any node. */
  readonly node: RaftNode
  readonly report: { crashes: number; changes: number; snapshots: number }
}

const DEEDS: Readonly<Record<string, Deed>> = {
  crash: ({ node, report }) => {
    node.crash()
    report.crashes++
  },
  restart: ({ node }) => {
    node.crash()
    node.start()
  },
  startAll: ({ net }) => startAll(net),
  split: ({ net, random, ids }) => {
    const mixed = shuffle(random, [...ids])
    const at = 1 + random.int(NODES - 1)
    net.split(mixed.slice(0, at), mixed.slice(at))
  },
  heal: ({ net }) => net.heal(),
  cutLink: ({ net, random, ids }) => net.cut(pick(random, ids), pick(random, ids)),
  isolateLeader: ({ net }) => {
    if (net.leader !== undefined) net.isolate(net.leader.id)
  },
  crashLeader: ({ net, report }) => {
    net.leader?.crash()
    report.crashes++
  },
  change: ({ net, random, ids, report }) => {
    const mixed = shuffle(random, [...ids])
    const voters = mixed.slice(0, 1 + random.int(NODES))
    const learners = mixed.slice(voters.length, voters.length + random.int(2))
    if (net.leader?.change(voters, learners) === true) report.changes++
  },
  transfer: ({ net, random, ids }) => void net.leader?.transfer(pick(random, ids)),
  trim: ({ node, random, report }) => {
    if (node.raft !== undefined && node.raft.log.applied > (node.raft.log.snapshot?.index ?? 0)) {
      node.trim(random.int(8))
      report.snapshots++
    }
  },
  weather: ({ net }) => changeWeather(net),
  leap: ({ node, random }) => void (node.skewMs += random.int(3000)),
  read: ({ net, node }) => {
    node.read()
    // Also whoever only believes that it leads.
    for (const each of net.nodes.values()) if (each.isLeader) each.read()
  },
  proposeAnywhere: ({ net }, step) => {
    for (const each of net.nodes.values()) if (each.isLeader) each.propose(`${step}`)
  },
  propose: ({ net, random }, step) => {
    for (let i = 1 + random.int(4); i > 0; i--) net.leader?.propose(`${step}.${i}`)
  }
}

/** Never left out: without them nothing happens, or nothing more. */
const ALWAYS = ['startAll', 'heal', 'propose', 'proposeAnywhere', 'read']

/**
 * A group in bad weather for a while: lost, doubled, overtaking messages, slow disks, splits, crashes, changed voters,
 * handed-over leadership, trimmed logs, clocks that leap ahead. Each seed leaves some kinds of trouble out, so that the
 * rest comes thicker (swarm testing, Groce 2012). After every step the invariants must hold; when the weather clears, the
 * group must work again.
 */
export function storm(seed: number, { rules = SOUND_RAFT_RULES, only, voters }: StormOptions = {}): StormReport {
  const limits = new SeededRandom(`limits ${seed}`)
  const raft = { inflightMax: pick(limits, [1, 4, 64]), appendBytesMax: pick(limits, [1, 200, 10_000]), applyMax: 3 }
  const net = new RaftNetwork({ seed: `storm ${seed}`, rules, raft })
  const { random } = net
  const ids = Array.from({ length: NODES }, (_, i) => storeId(i + 1))
  const founders = ids.slice(0, voters ?? 1 + random.int(NODES))
  for (const id of ids) net.add(id, founders.includes(id) ? foundedBy(founders) : EMPTY_LOG_STATE)
  const report = { crashes: 0, changes: 0, snapshots: 0 }
  const deeds = only ?? Object.keys(DEEDS).filter(name => ALWAYS.includes(name) || random.chance(1, 2))
  const pauseMs = pick(random, [5, 60, 300])
  changeWeather(net)
  for (let step = 0; step < STEPS; step++) {
    const node = pick(random, [...net.nodes.values()])
    DEEDS[pick(random, deeds)]!({ net, random, ids, node, report }, step)
    net.run(random.chance(1, 4) ? random.int(1500) : random.int(pauseMs))
  }
  calm(net)
  return {
    ...report,
    committed: net.invariants.commit,
    terms: Math.max(...ids.map(id => net.node(id).raft!.term)),
    reads: ids.reduce((sum, id) => sum + net.node(id).readsDone, 0)
  }
}

function startAll({ nodes }: RaftNetwork): void {
  for (const node of nodes.values()) if (node.raft === undefined) node.start()
}

function changeWeather({ random, weather }: RaftNetwork): void {
  weather.lossPerMille = pick(random, [0, 0, 50, 200])
  weather.duplicatePerMille = pick(random, [0, 50, 300])
  weather.delayMaxMs = pick(random, [0, 5, 50, 400])
  weather.writeMaxMs = pick(random, [0, 2, 30, 300])
}

/** Everything works again: there must be a leader soon, and it must get things done on all members. */
function calm(net: RaftNetwork): void {
  Object.assign(net.weather, { lossPerMille: 0, duplicatePerMille: 0, delayMaxMs: 5, writeMaxMs: 2 })
  net.heal()
  startAll(net)
  net.run(1000)
  for (let i = 0; i < 20; i++) {
    const leader = net.settle()
    if (leader.propose('the end')) break
    net.run(1000)
  }
  const isDone = (node: RaftNode): boolean => node.commands.at(-1) === 'the end'
  net.until('the last command on all members', () => {
    const leader = net.leader?.raft
    if (leader === undefined || leader.configuration.outgoing.length > 0) return false
    const { voters, learners } = leader.configuration
    return [...voters, ...learners].every(id => isDone(net.node(id)) || endedBySnapshot(net.node(id), net))
  })
  // A leader may still be one that is about to go, and its reads go with it.
  let asked = 0
  let before = 0
  net.until('a read', () => {
    const leader = net.leader
    if (leader === undefined) return false
    if (asked !== leader.raft!.term) {
      asked = leader.raft!.term
      before = leader.readsDone
      leader.read()
    }
    return leader.readsDone > before
  })
  assert.ok(net.invariants.commit > 0)
}

/** A node that has the last command within a snapshot has not applied it by itself. */
function endedBySnapshot(node: RaftNode, net: RaftNetwork): boolean {
  return node.applied.index >= net.invariants.commit
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.int(items.length)]!
}
