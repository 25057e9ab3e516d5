import type { Command } from '../../src/cluster/commands.ts'
import { MetaState } from '../../src/cluster/meta-state.ts'
import { encodeCommand } from '../../src/cluster/wire.ts'
import type { ClusterId, PeerId } from '../../src/model/node-id.ts'
import { claim } from '../../src/placement/claim.ts'
import { planChanges } from '../../src/placement/plan.ts'
import type { ClaimMember } from '../../src/placement/quotas.ts'
import { SOUND_RULES } from '../../src/placement/rules.ts'
import type { Row, Topology } from '../../src/placement/topology.ts'
import type { SimNode } from '../../src/testing/sim-node.ts'
import { Crowd, type Spread } from '../support/crowd.ts'
import { type Carried, membershipBytes, type TrafficKind } from '../support/traffic.ts'
import { clusterOf, type Table } from '../unit/placement/claim-figures.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

/** How large the cluster is, and for how long it is looked at. */
export interface ControlPlaneOptions {
  readonly members: number
  /** Clusters, one after the other, each of another sim seed. */
  readonly rounds: number
  /** Virtual seconds with losses, of all clusters together. */
  readonly lossySeconds: number
}

/** Joins, leaves, killed processes and vanished machines in each cluster. */
const EVENTS = 4
/** For so long a cluster is left alone before it counts as idle, and then looked at, virtual ms. */
const CALM_MS = 20_000
const IDLE_MS = 60_000
/** Messages lost, of ten thousand. */
const LOSS_PER_10K = 100
/** Between two events: more than a probe's interval, so that they do not all come at one moment of it, virtual ms. */
const PAUSE_MS = 1300
const PARTITIONS = 256
const REPLICAS = 3
const COMPUTATIONS = 21

/** What one cluster has shown. */
interface Round {
  readonly carried: readonly Carried[]
  /** CPU of this process for each member and virtual second, ms. */
  readonly cpuMs: number
  readonly joined: readonly Spread['joined'][]
  readonly left: readonly Spread['left'][]
  readonly killed: readonly Spread['gone'][]
  readonly vanished: readonly Spread['gone'][]
  readonly accusations: Crowd['accusations']
}

/** What a cluster of so many members costs when nothing happens, and how soon all know what has happened. */
export async function benchControlPlane({ members, rounds, lossySeconds }: ControlPlaneOptions): Promise<Report> {
  const computed = computations(members)
  const seen: Round[] = []
  for (let seed = 1; seed <= rounds; seed++) {
    seen.push(await round(members, seed, (lossySeconds * 1000) / rounds))
    process.stderr.write(`cluster ${seed} of ${rounds}\n`)
  }
  return reportOf(members, lossySeconds, seen, computed)
}

async function round(members: number, seed: number, lossyMs: number): Promise<Round> {
  const crowd = await Crowd.form(members, seed)
  await crowd.world.advance(CALM_MS)
  const before = process.cpuUsage()
  await crowd.world.advance(IDLE_MS)
  const { user, system } = process.cpuUsage(before)
  const carried = await crowd.carried(IDLE_MS)
  crowd.lose(LOSS_PER_10K)
  await crowd.world.advance(lossyMs)
  crowd.lose(0)
  await crowd.world.advance(CALM_MS)
  const joined: Spread['joined'][] = []
  const left: Spread['left'][] = []
  const killed: Spread['gone'][] = []
  const vanished: Spread['gone'][] = []
  // The first members vote, which is not everybody's lot.
  const someone = (share: number): SimNode => crowd.nodes[Math.floor(share * crowd.nodes.length)]!
  for (let i = 0; i < EVENTS; i++) {
    joined.push(await crowd.join())
    await crowd.world.advance(PAUSE_MS)
    left.push(await crowd.leave(someone(0.4)))
    await crowd.world.advance(PAUSE_MS)
  }
  for (let i = 0; i < EVENTS; i++) {
    killed.push(await crowd.crash(someone(0.5), false))
    await crowd.world.advance(PAUSE_MS)
    vanished.push(await crowd.crash(someone(0.7), true))
    await crowd.world.advance(PAUSE_MS)
  }
  return {
    carried: [...carried.values()],
    cpuMs: (user + system) / 1000 / members / (IDLE_MS / 1000),
    joined,
    left,
    killed,
    vanished,
    accusations: crowd.accusations
  }
}

/** Times of what is worked out when members come and go, ms, the first time first: nothing of it is compiled then. */
function computations(count: number): ReadonlyMap<string, readonly number[]> {
  const all = clusterOf(count + 1, 1)
  const members = all.slice(0, count)
  const claimed = (of: readonly ClaimMember[], current?: Table): Table =>
    claim({ current, members: of, partitions: PARTITIONS, replicas: REPLICAS })
  const table = claimed(members)
  const alone = claimed(members.slice(0, 1))
  const topology = topologyOf(members, alone)
  const plan = (): ReturnType<typeof planChanges> =>
    planChanges({ topology, target: table, live: () => true, rules: SOUND_RULES, limits: { rowsPerNode: 64 } })
  const rows = plan().map(change => ({ ...change, rowEpoch: topology.rows[change.partition]!.rowEpoch }))
  const command = encodeCommand({ kind: 'changeBegin', rows })
  const founded = foundedState(members)
  const snapshot = founded.snapshot()
  const apply = (): void => {
    const state = new MetaState()
    state.restore(snapshot)
    state.apply(state.epoch + 1, command)
  }
  return new Map([
    ['who should own what: of all, from nothing', timesOf(() => claimed(members))],
    ['… when one joins', timesOf(() => claimed(all, table))],
    ['… when one leaves', timesOf(() => claimed(members.slice(1), table))],
    ['… when all have joined one', timesOf(() => claimed(members, alone))],
    [`steps of ${rows.length} rows towards it`, timesOf(plan)],
    ['a member takes over the whole topology, and these steps', timesOf(apply)]
  ])
}

function timesOf(compute: () => unknown): readonly number[] {
  return Array.from({ length: COMPUTATIONS }, () => {
    const startMs = performance.now()
    compute()
    return performance.now() - startMs
  })
}

function topologyOf(members: readonly ClaimMember[], table: Table): Topology {
  const { topology } = foundedState(members)
  const rows: Row[] = table.map((slots, i) => ({ ...topology!.rows[i]!, slots }))
  return { ...topology!, rows }
}

/** The log of a cluster that the first one has founded and the others have joined. */
function foundedState(members: readonly ClaimMember[]): MetaState {
  const state = new MetaState()
  for (const [i, { storeId, weight, zone }] of members.entries()) {
    const peerId = `12D3KooW${storeId}${storeId.slice(0, 12)}` as PeerId
    const addresses = [`/ip4/10.0.0.${i}/tcp/7400/p2p/${peerId}`]
    const member = { storeId, peerId, addresses, weight, zone, region: '', volatile: true }
    const found = { clusterId: 'c'.repeat(32) as ClusterId, name: 'bench', partitions: PARTITIONS, replicas: REPLICAS }
    const command: Command =
      i === 0 ? { kind: 'found', ...found, foundedMs: 0, member } : { kind: 'addMember', member, former: [] }
    state.apply(i + 1, encodeCommand(command))
  }
  return state
}

interface Line {
  readonly name: string
  readonly values: readonly number[]
  readonly unit: string
  /** What the worst is to be at most; the median where `of` says so. */
  readonly most?: number
  readonly of?: 'median'
}

function reportOf(
  members: number,
  lossySeconds: number,
  seen: readonly Round[],
  computed: ReadonlyMap<string, readonly number[]>
): Report {
  const perSecond = (pick: (carried: Carried) => number): number[] =>
    seen.flatMap(({ carried }) => carried.map(bytes => (pick(bytes) * 1000) / IDLE_MS))
  const kind = (which: TrafficKind): number[] => perSecond(carried => carried[which])
  const all = <T>(pick: (round: Round) => readonly T[], value: (item: T) => number): number[] =>
    seen.flatMap(round => pick(round).map(value))
  const sum = (pick: (accusations: Round['accusations']) => number): number[] => [
    seen.reduce((total, { accusations }) => total + pick(accusations), 0)
  ]
  const lines: Line[] = [
    { name: 'idle: bytes sent and received, membership', values: perSecond(membershipBytes), unit: '/s', most: 5000 },
    { name: '… of which probes', values: kind('probes'), unit: '/s' },
    { name: '… gossip (modelled)', values: kind('gossip'), unit: '/s' },
    { name: '… pings of the connections', values: kind('connections'), unit: '/s' },
    { name: 'idle: the log of members, mostly five voters', values: kind('raft'), unit: '/s' },
    { name: 'idle: all else', values: kind('other'), unit: '/s' },
    { name: 'idle: CPU in a virtual second, simulator included', values: seen.map(({ cpuMs }) => cpuMs), unit: ' ms' },
    {
      name: 'a join is heard of by all',
      values: all(
        round => round.joined,
        ({ heard }) => heard
      ),
      unit: ' ms'
    },
    {
      name: '… and it is a member to all',
      values: all(
        round => round.joined,
        ({ member }) => member
      ),
      unit: ' ms'
    },
    {
      name: 'leaving: handing over',
      values: all(
        round => round.left,
        ({ handedOver }) => handedOver
      ),
      unit: ' ms'
    },
    {
      name: '… and then the goodbye is heard by all',
      values: all(
        round => round.left,
        ({ heard }) => heard
      ),
      unit: ' ms'
    },
    {
      name: 'a process is killed: suspected by all',
      values: all(
        round => round.killed,
        ({ suspected }) => suspected
      ),
      unit: ' ms'
    },
    {
      name: '… dead to all',
      values: all(
        round => round.killed,
        ({ dead }) => dead
      ),
      unit: ' ms',
      most: 6000
    },
    {
      name: '… median of these',
      values: all(
        round => round.killed,
        ({ dead }) => dead
      ),
      unit: ' ms',
      most: 3000,
      of: 'median'
    },
    {
      name: 'a machine vanishes: suspected by all',
      values: all(
        round => round.vanished,
        ({ suspected }) => suspected
      ),
      unit: ' ms'
    },
    {
      name: '… dead to all',
      values: all(
        round => round.vanished,
        ({ dead }) => dead
      ),
      unit: ' ms',
      most: 6000
    },
    {
      name: `suspected wrongly in ${lossySeconds} s with 1 % lost`,
      values: sum(({ suspected }) => suspected),
      unit: '',
      most: 0
    },
    { name: '… held dead wrongly', values: sum(({ dead }) => dead), unit: '', most: 0 },
    ...[...computed].map(([name, values]) => ({ name, values, unit: ' ms', most: 20 }))
  ]
  const head = [`${members} members, simulated`, 'median', 'worst', 'wanted', 'reached']
  const figures = Object.fromEntries(lines.map(({ name, values }) => [name, median(values)]))
  return { sections: [{ name: 'control-plane', head, rows: lines.map(rowOf) }], figures }
}

function rowOf({ name, values, unit, most, of }: Line): string[] {
  const middle = median(values)
  const worst = Math.max(...values)
  const show = (value: number): string => `${value === 0 ? '0' : figure(value)}${unit}`
  const shown = values.length === 1 ? ['', show(worst)] : [show(middle), show(worst)]
  if (most === undefined) return [name, ...shown, '', '']
  return [
    name,
    ...shown,
    `≤ ${most.toLocaleString('en')}${unit}`,
    (of === 'median' ? middle : worst) <= most ? 'yes' : 'no'
  ]
}
