import { messageOf } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, idToBytes, type StoreId } from '../model/node-id.ts'
import type { ViewMember } from '../model/view.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Responder, Transport } from '../transport/transport.ts'
import { answer, ask, ASK_TIMEOUT_MS } from './ask.ts'
import { placesOf } from './caretaker.ts'
import { type Command, PROPOSE_TIMEOUT_MS } from './commands.ts'
import { Fate, type FateReport, type Fates } from './fates.ts'
import { outranks, readCluster, readClusters, type Standing, writeClusters } from './kinship.ts'
import type { MetaLog } from './meta-log.ts'
import { readMembers, writeMembers } from './wire.ts'

/** How a node leaves its cluster: what the log says, what others say, or as the one who founds it again. */
export type Departure = 'dissolved' | 'told' | 'refound'

/** What dealing with other clusters needs. */
export interface KinDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: MetaLog
  readonly fates: Fates
  readonly leader: () => StoreId | undefined
  /** Clusters that this node has left as they had ended. */
  readonly former: () => readonly ClusterId[]
  /** Whether this node is on its way from one cluster to another. */
  readonly isLeaving: () => boolean
  readonly propose: (command: Command, timeoutMs: number) => Promise<void>
  /** This node's cluster has ended. */
  readonly depart: (departure: Departure) => void
}

/** How often a node looks for other clusters of its name, and whether its own goes on, ms. */
const KIN_EVERY_MS = 2000
/** At most so long after another cluster was met it is dealt with, ms: all of its members are met at about the same time. */
const LOOK_SOON_MS = 100
/** A cluster that was granted to come and is still there after this long may be asked anew, ms. */
const PIN_MS = 30_000
/** A cluster that was granted to come and was not heard of since, ms. */
const PIN_LOST_MS = 600_000
/** For so long a node may not hear of the leader before it believes that its cluster goes on elsewhere, ms. */
const LEADERLESS_MS = 5000
/** After so long it asks everybody for the leader, and not a few, ms. */
const THOROUGH_AFTER_MS = 10_000
const SAMPLE = 3
/** For so long nobody must have heard of a leader before a cluster is founded again: when those who are missing have certainly ended, ms; */
const ENDED_MS = 5000
/** when all they held was in memory, and somebody else may still hear them; */
const VOLATILE_MS = 60_000
/** and in any case. */
const GONE_MS = 600_000

/**
 * Deals with other clusters of the same name, which were founded apart, by a split or a mistake, and with the end of one's
 * own:
 *
 *     MERGE   cluster 16 · members · founded · absorbed · who they are   the leader of a cluster asks a member of one that
 *                                                                         outranks it
 *     reply   u8 (1: they are expected)
 *
 * M2: the smaller cluster asks, the larger one notes that in its log, and so stays until it is over. M3: only then the
 * smaller one ends its log. Its members, also those that hear of it much later, follow.
 */
export class Kin {
  readonly #deps: KinDeps
  #timer: Timer | undefined
  /** When the next look is due; not while one is under way. */
  #dueMs = Infinity
  #isLooking = false
  /** Whether a look was called for while one was under way. */
  #again = false
  #stopped = false
  /** Since when nobody is known to lead. */
  #leaderlessSince: number | undefined
  /** Since when this node, as the leader, knows of each cluster that may come. */
  readonly #pinnedSince = new Map<ClusterId, number>()
  readonly #told = new Set<ClusterId>()
  #forget: (() => void) | undefined

  constructor(deps: KinDeps) {
    this.#deps = deps
  }

  listen(): void {
    const { membership, random, log } = this.#deps
    answer(this.#deps.transport, MessageType.MERGE, ({ body }, respond) => this.#onMerge(body, respond))
    // Whoever meets another cluster need not wait for the next look.
    this.#forget = membership.on('change', ({ clusterId }) => {
      const own = log.topology?.clusterId
      if (own === undefined || clusterId === undefined || clusterId === own || this.#told.has(clusterId)) return
      this.#again ||= this.#isLooking
      this.#schedule(random.int(LOOK_SOON_MS))
    })
    this.#schedule(KIN_EVERY_MS)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#forget?.()
  }

  /** This node has gone over to another cluster. */
  reset(): void {
    this.#leaderlessSince = undefined
    this.#pinnedSince.clear()
    this.#told.clear()
  }

  /** One look after the other. What calls for one brings the next one forward, and never puts it off. */
  #schedule(delayMs: number): void {
    const { clock } = this.#deps
    const dueMs = clock.monotonicMs() + delayMs
    if (this.#stopped || this.#isLooking || dueMs >= this.#dueMs) return
    this.#timer?.cancel()
    this.#dueMs = dueMs
    this.#timer = clock.after(delayMs, () => void this.#run())
  }

  async #run(): Promise<void> {
    const { logger, random } = this.#deps
    this.#dueMs = Infinity
    this.#again = false
    this.#isLooking = true
    try {
      await this.#look()
    } catch (error) {
      logger.debug('dealing with other clusters is tried again', { error: messageOf(error) })
    }
    this.#isLooking = false
    this.#schedule(this.#again ? random.int(LOOK_SOON_MS) : KIN_EVERY_MS + random.int(KIN_EVERY_MS / 4))
  }

  async #look(): Promise<void> {
    const { log, isLeaving, membership, leader } = this.#deps
    const own = log.topology
    if (own === undefined || isLeaving()) return
    const others = this.#others(own.clusterId)
    for (const [cluster, { peerId }] of others) {
      this.#tell(own.clusterId, cluster)
      const { fate } = await this.#deps.fates.ask(own.clusterId, peerId)
      if (this.#isOver(own, fate)) return this.#deps.depart('told')
    }
    if (leader() === membership.self.storeId) {
      await this.#askToMerge(own, others)
      await this.#releasePins(own, others)
    }
    await this.#missLeader(own)
  }

  /** Whether nothing has come in between: what was asked about one cluster says nothing of the next. */
  #isStillIn({ clusterId }: Topology): boolean {
    const { log, isLeaving } = this.#deps
    return !this.#stopped && !isLeaving() && log.topology?.clusterId === clusterId
  }

  #isOver(own: Topology, fate: Fate | undefined): boolean {
    if (!this.#isStillIn(own)) return false
    if (fate === Fate.ABSORBED) return true
    const since = this.#leaderlessSince
    return fate === Fate.CONTINUED && since !== undefined && this.#deps.clock.monotonicMs() - since >= LEADERLESS_MS
  }

  #tell(own: ClusterId, other: ClusterId): void {
    if (this.#told.has(other)) return
    this.#told.add(other)
    this.#deps.logger.warn('another cluster of the same name was met: the two become one', { own, other })
  }

  /** For each other cluster one member that lives and is linked. */
  #others(own: ClusterId): ReadonlyMap<ClusterId, ViewMember> {
    const { membership, transport, former, random } = this.#deps
    const found = new Map<ClusterId, ViewMember>()
    const members = [...membership.view.values()]
    const start = random.int(Math.max(1, members.length))
    for (const member of [...members.slice(start), ...members.slice(0, start)]) {
      const { clusterId, status, peerId } = member
      if (clusterId === undefined || clusterId === own || status !== 'alive' || former().includes(clusterId)) continue
      if (transport.isLinked(peerId)) found.set(clusterId, member)
    }
    return found
  }

  /** M2, as the leader of the smaller cluster. Rows that change now are settled first: what is on its way belongs to nobody. */
  async #askToMerge(own: Topology, others: ReadonlyMap<ClusterId, ViewMember>): Promise<void> {
    const { log, propose, transport } = this.#deps
    const { absorbing, absorbed } = log.kinship
    if (absorbing.size > 0 || own.rows.some(({ change }) => change !== undefined)) return
    const standing = this.#standing(own)
    const body = writeClusters(writeStanding(new Writer(1024), standing), [...absorbed])
    const request = writeMembers(body, [...own.members.values()]).finish()
    for (const [into, { peerId }] of others) {
      const [granted] = (await ask(transport, peerId, MessageType.MERGE, request)) ?? []
      if (granted !== 1 || !this.#isStillIn(own)) continue
      // A grant that is not used by then is asked for again.
      await propose({ kind: 'dissolve', into, epoch: own.epoch }, PROPOSE_TIMEOUT_MS)
      return
    }
  }

  /** Who is a member, and is there. */
  #standing(own: Topology): Standing {
    const { clusterId } = own
    return { clusterId, members: 1 + this.#deps.fates.mates(own).length, foundedMs: this.#deps.log.kinship.foundedMs }
  }

  /** M2, in the larger cluster, whichever of its members is asked: what is granted is in the log. */
  #onMerge(body: Uint8Array, respond: Responder): void {
    const { log, propose, isLeaving } = this.#deps
    const reader = new Reader(body)
    const asker = readStanding(reader)
    const absorbed = readClusters(reader)
    const members = readMembers(reader)
    const own = log.topology
    const isLoser = own === undefined || isLeaving() || !outranks(this.#standing(own), asker)
    if (isLoser || log.kinship.dissolvedInto !== undefined) return respond.reply(Uint8Array.of(0))
    const answer = (granted: boolean): void => respond.reply(Uint8Array.of(granted ? 1 : 0))
    propose({ kind: 'absorb', cluster: asker.clusterId, absorbed, members }, ASK_TIMEOUT_MS).then(
      () => answer(log.kinship.absorbing.has(asker.clusterId)),
      () => answer(false)
    )
  }

  /** Who was expected and does not come must not keep this cluster from joining another. */
  async #releasePins(own: Topology, others: ReadonlyMap<ClusterId, ViewMember>): Promise<void> {
    const { log, clock, propose, fates } = this.#deps
    const { absorbing } = log.kinship
    for (const cluster of this.#pinnedSince.keys()) if (!absorbing.has(cluster)) this.#pinnedSince.delete(cluster)
    for (const cluster of absorbing) {
      const nowMs = clock.monotonicMs()
      const since = this.#pinnedSince.get(cluster) ?? nowMs
      this.#pinnedSince.set(cluster, since)
      // Its own members know best; those of any other cluster know whether it has gone there.
      const member = others.get(cluster) ?? [...others.values()][0]
      const report = member === undefined ? undefined : await fates.ask(cluster, member.peerId)
      if (!this.#isStillIn(own)) return
      const isStaying = report?.fate === Fate.LED && nowMs - since >= PIN_MS
      if (this.#isElsewhere(own, report) || isStaying || nowMs - since >= PIN_LOST_MS)
        await propose({ kind: 'absorbCancel', cluster }, PROPOSE_TIMEOUT_MS)
    }
  }

  /** Whether those who were expected have gone to another cluster, or founded theirs anew when this one was not to be reached. */
  #isElsewhere(own: Topology, report: FateReport | undefined): boolean {
    if (report?.into === undefined || report.into === own.clusterId) return false
    if (report.fate === Fate.ABSORBED) return true
    // Some of them may be here all the same, and bring records along: as long as they do they are to be expected.
    const { view } = this.#deps.membership
    const isHere = (store: StoreId): boolean => view.get(store)?.clusterId === own.clusterId
    const { members } = own
    return (
      report.fate === Fate.CONTINUED &&
      ![...members.values()].some(({ storeId, status }) => status === 'arriving' && isHere(storeId))
    )
  }

  /**
   * Founds the cluster again when the majority that has to agree on its log is gone for good: when nobody who lives has heard
   * of a leader for long enough, and all have said so. The one with the smallest id does, and the others follow it.
   */
  async #missLeader(own: Topology): Promise<void> {
    const { clock, leader, random, fates, depart } = this.#deps
    const nowMs = clock.monotonicMs()
    if (leader() !== undefined) {
      this.#leaderlessSince = undefined
      return
    }
    const waitedMs = nowMs - (this.#leaderlessSince ??= nowMs)
    const mates = fates.mates(own)
    const isThorough = waitedMs >= this.#patienceMs(own) || waitedMs >= THOROUGH_AFTER_MS || mates.length <= SAMPLE
    const asked = isThorough ? mates : Array.from({ length: SAMPLE }, () => mates[random.int(mates.length)]!)
    const reports = await Promise.all(asked.map(({ peerId }) => fates.ask(own.clusterId, peerId)))
    if (reports.some(({ fate }) => fate === Fate.LED)) this.#leaderlessSince = undefined
    if (!this.#isStillIn(own)) return
    if (reports.some(({ fate }) => this.#isOver(own, fate))) return depart('told')
    const agree = isThorough && reports.every(({ fate }) => fate === Fate.LEADERLESS)
    if (leader() !== undefined || !fates.isFirst(own) || !agree) return
    if (waitedMs >= this.#patienceMs(own)) depart('refound')
  }

  /** How long those who are missing may still come back, ms. */
  #patienceMs({ members }: Topology): number {
    const { membership, transport } = this.#deps
    const missing = [...members.values()].filter(
      ({ storeId, status }) => status !== 'arriving' && membership.statusOf(storeId) !== 'alive'
    )
    if (missing.length === 0) return Infinity
    if (missing.some(member => !member.volatile)) return GONE_MS
    const taken = new Set([...membership.view.values()].filter(({ status }) => status === 'alive').map(placesOf))
    const hasEnded = missing.every(member => transport.isRefusing(member.peerId) || taken.has(placesOf(member)))
    return hasEnded ? ENDED_MS : VOLATILE_MS
  }
}

function writeStanding(writer: Writer, { clusterId, members, foundedMs }: Standing): Writer {
  return writer.raw(idToBytes(clusterId)).varint(members).varint(foundedMs)
}

function readStanding(reader: Reader): Standing {
  return { clusterId: readCluster(reader), members: reader.varint(), foundedMs: reader.varint() }
}
