import { ClaimedTarget } from '../placement/claimed-target.ts'
import { planChanges } from '../placement/plan.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isTaker, type Row, type Topology, type TopologyMember } from '../placement/topology.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Command, RowRef } from './commands.ts'

/** What the caretaker sees when it looks around. */
export interface CaretakerInput {
  readonly topology: Topology
  readonly nowMs: number
  readonly isDead: (store: StoreId) => boolean
  /** Whether it lives in another cluster, from which it may come. */
  readonly isElsewhere: (store: StoreId) => boolean
  /** Whether its process is known to have ended, as its machine answers and nothing listens there. */
  readonly hasEnded: (store: StoreId) => boolean
  /** Voters of the meta group: they are members for as long as they vote. */
  readonly voters: readonly StoreId[]
  readonly rules: PlacementRules
}

/** Settings; see `NodeOptions` for their meaning. */
export interface CaretakerOptions {
  readonly evictVolatileAfterMs: number
  readonly evictDiskAfterMs: number
  /** How long an evicted member on disk is remembered, ms. */
  readonly gcGraceMs: number
  readonly warmUpMs: number
}

/** Dead so long, a member is marked as down; shorter absences leave no trace in the log. */
const DOWN_AFTER_MS = 5000
/**
 * Dead so long, what an evicted member in memory held is taken for lost. Until then the member may be behind a split, where
 * a majority of a row's owners goes on taking writes: to rebuild that row from the rest would throw them away.
 */
const LOST_AFTER_MS = 600_000
/** Rows that one member may be receiving at the same time. It copies a few of them at once. */
const ROWS_PER_NODE = 64
/**
 * Every command is work for every member, felt by requests: rows whose copies are done wait so long for others, ms, unless half
 * of those that move are done.
 */
const END_WITHIN_MS = 500
/** Joins within this time are planned together, ms. */
const GATHER_MS = 200
/** Pause between two plans once the cluster stands, ms. */
const PLAN_EVERY_MS = 2000
/** A cluster is forming while it has fewer members than this, or is younger than {@link FORMING_MS}. */
const FORMED_MEMBERS = 5
const FORMING_MS = 60_000
/**
 * So many members, and more than this part of them, down within {@link MASS_WINDOW_MS}: rather a fault of the network than of
 * all of them. Two may die together, as those of one machine do.
 */
const MASS_LEAST = 3
const MASS_PART = 3
const MASS_WINDOW_MS = 60_000
const MASS_HOLD_MS = 600_000
/** Whose end is no failure. */
const EXPECTED: ReadonlySet<TopologyMember['status'] | undefined> = new Set(['arriving', 'leaving'])

/**
 * What the leader of the meta group does about members and rows, as a machine: looks at the state and at gossip, and
 * returns the commands that are due. It remembers only when it first saw things; a new leader starts those clocks anew,
 * which delays, and never hastens, what it decides.
 */
export class Caretaker {
  readonly #options: CaretakerOptions
  readonly #deadSince = new Map<StoreId, number>()
  readonly #seenSince = new Map<StoreId, number>()
  readonly #copied = new Map<PartitionId, { readonly rowEpoch: number; readonly by: Set<StoreId> }>()
  readonly #startedMs: number
  #plannedMs = -Infinity
  /** Since when the copies of some row are done whose change is not over; `undefined` when there is none. */
  #doneSinceMs: number | undefined
  /** Rows that moved after the last plan. */
  #begun = 0
  #holdUntilMs = -Infinity
  #planned: Topology['members'] | undefined
  readonly #target = new ClaimedTarget()
  readonly #formingUntilMs: number

  /** @param isFounder - whether the cluster is founded just now: only then is it known to be young */
  constructor(options: CaretakerOptions, nowMs: number, isFounder = false) {
    this.#options = options
    this.#startedMs = nowMs
    this.#formingUntilMs = isFounder ? nowMs + FORMING_MS : nowMs
  }

  /** How long a member has been dead without a break, ms. */
  deadForMs(store: StoreId, nowMs: number): number {
    const since = this.#deadSince.get(store)
    return since === undefined ? 0 : Math.max(1, nowMs - since)
  }

  /** A member reports that its copies for a row are done. */
  copied(store: StoreId, { partition, rowEpoch }: RowRef): void {
    let row = this.#copied.get(partition)
    if (row?.rowEpoch !== rowEpoch) this.#copied.set(partition, (row = { rowEpoch, by: new Set() }))
    row.by.add(store)
  }

  /** Whether movement is held because too many members fell at once. */
  isHolding(nowMs: number): boolean {
    return nowMs < this.#holdUntilMs
  }

  look(input: CaretakerInput): Command[] {
    this.#watch(input)
    const commands = [...this.#statuses(input), ...this.#endings(input)]
    // Rows are planned on a settled picture of the members: the next look is soon.
    if (commands.some(({ kind }) => kind === 'setStatus' || kind === 'removeMember')) return commands
    return [...commands, ...this.#plan(input)]
  }

  #watch({ topology, nowMs, isDead }: CaretakerInput): void {
    for (const store of topology.members.keys()) {
      if (!this.#seenSince.has(store)) this.#seenSince.set(store, nowMs)
      if (!isDead(store)) this.#deadSince.delete(store)
      else if (!this.#deadSince.has(store)) this.#deadSince.set(store, nowMs)
    }
    for (const store of [...this.#seenSince.keys(), ...this.#deadSince.keys()]) {
      if (topology.members.has(store)) continue
      this.#seenSince.delete(store)
      this.#deadSince.delete(store)
    }
    // Whose place is taken has ended, and is not behind a split: a process that restarts again and again is no mass failure. Nor
    // is it when members leave, all together perhaps.
    const isExpected = (store: StoreId): boolean =>
      isReplaced(topology, store, isDead) || EXPECTED.has(topology.members.get(store)?.status)
    const dead = [...this.#deadSince].filter(([store]) => !isExpected(store))
    const fallen = dead.filter(([, since]) => nowMs - since < MASS_WINDOW_MS)
    const isMass = ({ length }: typeof dead): boolean =>
      length >= MASS_LEAST && length * MASS_PART > topology.members.size
    if (isMass(fallen)) this.#holdUntilMs = nowMs + MASS_HOLD_MS
    // Most are back: who is still dead has died on its own.
    else if (!isMass(dead)) this.#holdUntilMs = -Infinity
  }

  #statuses(input: CaretakerInput): Command[] {
    const { topology, nowMs } = input
    const commands: Command[] = []
    for (const member of topology.members.values()) {
      const { storeId, status } = member
      const deadMs = this.deadForMs(storeId, nowMs)
      if (status === 'up' && deadMs >= Math.min(DOWN_AFTER_MS, this.#evictAfterMs(member)))
        commands.push({ kind: 'setStatus', storeId, status: 'down' })
      if ((status === 'down' || status === 'evicted') && deadMs === 0)
        commands.push({ kind: 'setStatus', storeId, status: 'up' })
      if (status === 'down' && this.#isDue(member, deadMs, input))
        commands.push({ kind: 'setStatus', storeId, status: 'evicted' })
      // What was in memory is lost; what is on a disk can be merged, for as long as nothing was purged that it has not heard of.
      const isForgotten = (member.volatile && !input.isElsewhere(storeId)) || deadMs >= this.#options.gcGraceMs
      const gone =
        status === 'leaving' ||
        (status === 'evicted' && isForgotten) ||
        (status === 'arriving' && isForgotten && deadMs > 0)
      if (gone && !input.voters.includes(storeId) && !ownsAnything(topology.rows, storeId))
        commands.push({ kind: 'removeMember', storeId })
    }
    return commands
  }

  /**
   * Whether a dead member is to lose its place: long enough dead, and somebody else is there to take its copies, or it
   * is gone for certain.
   */
  #isDue(member: TopologyMember, deadMs: number, { topology, nowMs, hasEnded, isDead }: CaretakerInput): boolean {
    const { storeId, volatile } = member
    if (deadMs < this.#evictAfterMs(member) || this.isHolding(nowMs)) return false
    // What was in memory has ended with its process: to keep its place helps nobody, and keeps others from leaving.
    if (volatile && (hasEnded(storeId) || isReplaced(topology, storeId, isDead))) return true
    const takers = [...topology.members.values()].filter(isTaker)
    const replaceable = ({ slots }: Row): boolean => takers.some(taker => !slots.includes(taker.storeId))
    return topology.rows.every(row => !row.slots.includes(storeId) || replaceable(row))
  }

  #evictAfterMs({ volatile }: TopologyMember): number {
    return volatile ? this.#options.evictVolatileAfterMs : this.#options.evictDiskAfterMs
  }

  #endings({ topology, nowMs, isDead }: CaretakerInput): Command[] {
    const ends: RowRef[] = []
    const aborts: RowRef[] = []
    let moving = 0
    for (const [partition, { change, rowEpoch }] of topology.rows.entries()) {
      if (change === undefined) {
        this.#copied.delete(partition)
        continue
      }
      moving++
      const copied = this.#copied.get(partition)
      const done = (store: StoreId): boolean => copied?.rowEpoch === rowEpoch && copied.by.has(store)
      if (change.copies.every(({ to }) => done(to))) ends.push({ partition, rowEpoch })
      // Joint writes always reached a majority of the old owners, so going back to them is safe at any time.
      else if (change.copies.some(({ to, from }) => !done(to) && [to, ...from].some(isDead)))
        aborts.push({ partition, rowEpoch })
    }
    const commands: Command[] = []
    if (this.#isWorthACommand(ends.length, moving, nowMs)) commands.push({ kind: 'changeEnd', rows: ends })
    if (aborts.length > 0) commands.push({ kind: 'changeAbort', rows: aborts })
    return commands
  }

  /** Whether to end these changes now, or to wait for more of those that are under way. */
  #isWorthACommand(done: number, moving: number, nowMs: number): boolean {
    if (done === 0) {
      this.#doneSinceMs = undefined
      return false
    }
    const waitedMs = nowMs - (this.#doneSinceMs ??= nowMs)
    return 2 * done >= moving || waitedMs >= END_WITHIN_MS
  }

  #plan(input: CaretakerInput): Command[] {
    const { topology, nowMs, isDead, rules } = input
    if (this.isHolding(nowMs) || !this.#mayPlan(topology, nowMs)) return []
    const live = (store: StoreId): boolean => !isDead(store) && topology.members.has(store)
    const target = this.#target.of({
      current: topology.rows.map(({ slots, change }) => change?.next ?? slots),
      members: this.#claimants(topology, nowMs),
      partitions: topology.rows.length,
      replicas: topology.replicas
    })
    const lost = (store: StoreId): boolean => this.#isLost(input, store)
    const changes = planChanges({ topology, target, live, lost, rules, limits: { rowsPerNode: ROWS_PER_NODE } })
    this.#plannedMs = nowMs
    this.#begun = movingIn(topology) + changes.length
    if (changes.length === 0) return []
    return [
      {
        kind: 'changeBegin',
        rows: changes.map(change => ({ ...change, rowEpoch: topology.rows[change.partition]!.rowEpoch }))
      }
    ]
  }

  /**
   * Whether what a member held is gone for certain: it was in memory and is dead, and either it stayed so for very long, or
   * its process has ended, as nothing or another store answers at all of its addresses. A row that has lost its majority so
   * is rebuilt from what is left.
   */
  #isLost({ topology, nowMs, hasEnded, isDead }: CaretakerInput, store: StoreId): boolean {
    const member = topology.members.get(store)
    if (member === undefined) return true
    if (!member.volatile || member.status !== 'evicted') return false
    return this.deadForMs(store, nowMs) >= LOST_AFTER_MS || hasEnded(store) || isReplaced(topology, store, isDead)
  }

  /** Who the claim may count on: members that stay, down ones included, as their place is kept until they are evicted. */
  #claimants(topology: Topology, nowMs: number): TopologyMember[] {
    const forming = this.#isForming(topology, nowMs)
    const owners = new Set(topology.rows.flatMap(({ slots, change }) => [...slots, ...(change?.next ?? [])]))
    return [...topology.members.values()].filter(({ storeId, status }) => {
      if (status === 'down') return owners.has(storeId)
      const warm = forming || owners.has(storeId) || nowMs - this.#seenSince.get(storeId)! >= this.#options.warmUpMs
      return status === 'up' && warm
    })
  }

  /** While the cluster forms joins are only gathered for a moment; later plans come at a steady pace. */
  #mayPlan(topology: Topology, nowMs: number): boolean {
    if (this.#planned !== topology.members) {
      const newest = Math.max(...[...topology.members.keys()].map(store => this.#seenSince.get(store)!))
      if (nowMs - newest < GATHER_MS && newest > this.#startedMs) return false
      this.#planned = topology.members
      return true
    }
    // What a plan costs is felt by requests, so not at every look: those that move keep their copiers busy meanwhile.
    const isHalfDone = this.#begun > 0 && movingIn(topology) <= this.#begun / 2
    return isHalfDone || nowMs - this.#plannedMs >= (this.#isForming(topology, nowMs) ? GATHER_MS : PLAN_EVERY_MS)
  }

  #isForming(topology: Topology, nowMs: number): boolean {
    return topology.members.size < FORMED_MEMBERS || nowMs < this.#formingUntilMs
  }
}

function movingIn({ rows }: Topology): number {
  return rows.reduce((sum, { change }) => (change === undefined ? sum : sum + 1), 0)
}

function ownsAnything(rows: readonly Row[], store: StoreId): boolean {
  return rows.some(({ slots, change }) => slots.includes(store) || change?.next.includes(store) === true)
}

/**
 * Whether a dead member in memory has certainly ended: another answers at all of its addresses, or has joined there after it. In a
 * cluster that was founded again nobody knows of those it began with who joined first.
 */
function isReplaced({ members }: Topology, store: StoreId, isDead: (store: StoreId) => boolean): boolean {
  const member = members.get(store)
  if (member === undefined || !member.volatile || member.addresses.length === 0) return false
  const places = placesOf(member)
  const isSuccessor = ({ storeId, joinedEpoch }: TopologyMember): boolean =>
    storeId !== store && (joinedEpoch > member.joinedEpoch || !isDead(storeId))
  return [...members.values()].some(other => isSuccessor(other) && placesOf(other) === places)
}

/** Where a member listens, without who it is there. */
export function placesOf({ addresses }: Pick<TopologyMember, 'addresses'>): string {
  return addresses
    .map(address => address.replace(/\/p2p\/.*$/u, ''))
    .toSorted()
    .join(' ')
}
