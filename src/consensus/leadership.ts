import type { StoreId } from '../model/node-id.ts'
import { type Configuration, isJoint, isVoter, membersOf, quorumReached, sameStores } from './configuration.ts'
import type { AppendRefusal, AppendReply, EntryContent, RaftMessage } from './messages.ts'
import type { RaftOptions } from './options.ts'
import { Progress } from './progress.ts'
import type { RaftLog } from './raft-log.ts'
import { ReadRounds } from './read-rounds.ts'
import type { RaftRules } from './rules.ts'

/** What a leader shares with the machine it is a part of. */
export interface LeadershipDeps {
  readonly term: number
  readonly log: RaftLog
  readonly rules: RaftRules
  readonly options: Required<RaftOptions>
  /** Sends what need not wait for the disk. */
  send(message: RaftMessage): void
  /** A read of this node's own is confirmed. */
  confirmed(id: number, index: number): void
}

/** What became of a proposal. */
export type Proposed =
  | { readonly kind: 'appended'; readonly index: number; readonly term: number }
  /** Not taken; the same call may succeed elsewhere or later. */
  | { readonly kind: 'refused'; readonly reason: 'not-leader' | 'transferring' | 'full' | 'changing' }

/** Refusal of whoever does not lead. */
export const NOT_LEADER: Proposed = { kind: 'refused', reason: 'not-leader' }

/** How long a removed member is told about it, ms. */
const DEPARTURE_MS = 5000

/**
 * What a leader does during its term: it replicates (Raft §5.3), commits (§5.4.2), confirms reads (thesis §6.4), changes
 * the configuration (§6) and hands over (thesis §3.10). Nothing is sent before {@link flush}, so that one message holds
 * all entries of a turn, and one round confirms all its reads.
 */
export class Leadership {
  readonly #deps: LeadershipDeps
  readonly #progress = new Map<StoreId, Progress>()
  readonly #reads: ReadRounds
  /** Index of the entry that began the term. */
  readonly #termStart: number
  #heartbeatAtMs: number
  #transfer: { readonly to: StoreId; readonly untilMs: number } | undefined
  #handedOver = false
  #isOver = false

  /** The term begins with an empty entry, so that what older terms have left can be committed. */
  constructor(deps: LeadershipDeps, nowMs: number) {
    this.#deps = deps
    this.#reads = new ReadRounds(deps.options.readsMax)
    this.#heartbeatAtMs = nowMs + deps.options.heartbeatMs
    this.#followConfiguration(nowMs)
    this.#termStart = deps.log.append(deps.term, { kind: 'empty' }).index
  }

  /** When {@link tick} has something to do. */
  get deadlineMs(): number {
    return this.#heartbeatAtMs
  }

  /** Whether the term has to end: this node is no voter any more, or a majority does not answer. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Whom leadership is being handed to. */
  get transferee(): StoreId | undefined {
    return this.#transfer?.to
  }

  /** Index up to which a follower's log agrees, durably. */
  matchOf(store: StoreId): number {
    const { log, options, rules } = this.#deps
    if (store === options.self) return rules.leaderMatch(log.stable, log.lastIndex)
    return this.#progress.get(store)?.match ?? 0
  }

  progressOf(store: StoreId): Progress | undefined {
    return this.#progress.get(store)
  }

  propose(content: EntryContent, nowMs: number): Proposed {
    const { log, term, options } = this.#deps
    if (this.#transfer !== undefined) return { kind: 'refused', reason: 'transferring' }
    if (content.kind === 'configuration') {
      // One change at a time: the one before is committed, and so is an entry of this term, which settles what older
      // leaders may have left (the rule found after publication, thesis §4.1).
      const settled = log.configurationIndex <= log.committed && this.#termStart <= log.committed
      if (!settled || isJoint(log.configuration)) return { kind: 'refused', reason: 'changing' }
    } else if (log.uncommittedBytes > options.uncommittedBytesMax) {
      return { kind: 'refused', reason: 'full' }
    }
    const { index } = log.append(term, content)
    if (content.kind === 'configuration') this.#followConfiguration(nowMs)
    return { kind: 'appended', index, term }
  }

  /** The entry that leads from the present configuration to the given one: joint when the voters differ. */
  changeTo(voters: readonly StoreId[], learners: readonly StoreId[]): Configuration {
    const now = this.#deps.log.configuration
    const others = learners.filter(store => !voters.includes(store))
    return { voters, outgoing: sameStores(voters, now.voters) ? [] : now.voters, learners: others }
  }

  transfer(to: StoreId, nowMs: number): boolean {
    const { log, options } = this.#deps
    if (to === options.self || !isVoter(log.configuration, to) || !this.#progress.has(to)) return false
    if (this.#transfer?.to === to) return true
    this.#transfer = { to, untilMs: nowMs + options.electionMinMs }
    this.#handedOver = false
    return true
  }

  read(id: number, from: StoreId): void {
    this.#reads.add(id, from)
  }

  appendReply({ from, match, round }: AppendReply, nowMs: number): void {
    const progress = this.#heard(from, round, nowMs)
    // Nobody can have more than there is.
    if (progress === undefined || match > this.#deps.log.lastIndex) return
    if (progress.accepted(match, this.#deps.log.firstIndex)) this.#commit(nowMs)
  }

  appendRefusal({ from, prevIndex, hintIndex, hintTerm, round }: AppendRefusal, nowMs: number): void {
    const progress = this.#heard(from, round, nowMs)
    if (progress === undefined) return
    // The follower has skipped its terms above the leader's; the leader skips its own above the follower's.
    progress.refused(prevIndex, this.#deps.log.agreementBelow(hintIndex, hintTerm).index)
  }

  /** What was written is durable: it counts now (R2). */
  wrote(nowMs: number): void {
    this.#commit(nowMs)
  }

  tick(nowMs: number): void {
    if (nowMs < this.#heartbeatAtMs) return
    const { log, options, rules } = this.#deps
    const heardAtMs = quorumReached(rules.quorumSets(log.configuration), store =>
      store === options.self ? nowMs : (this.#progress.get(store)?.heardAtMs ?? 0)
    )
    if (nowMs - heardAtMs > options.electionMaxMs) {
      this.#isOver = true
      return
    }
    if (this.#transfer !== undefined && nowMs >= this.#transfer.untilMs) this.#transfer = undefined
    for (const [store, progress] of this.#progress) {
      if (nowMs >= progress.departsAtMs) this.#progress.delete(store)
      progress.giveUpSnapshot(nowMs, options.snapshotTimeoutMs)
    }
    this.#heartbeat(nowMs)
  }

  /** Sends whatever there is to send. */
  flush(nowMs: number): void {
    const { log, rules } = this.#deps
    if (this.#termStart <= log.committed && this.#reads.begin(log.committed)) {
      if (rules.confirmsReads) this.#heartbeat(nowMs)
      this.#confirmReads()
    }
    for (const [store, progress] of this.#progress) this.#replicate(store, progress, nowMs)
    this.#handOver()
  }

  #heard(from: StoreId, round: number, nowMs: number): Progress | undefined {
    const progress = this.#progress.get(from)
    if (progress === undefined) return undefined
    progress.heardAtMs = nowMs
    if (round > progress.round && round <= this.#reads.round) {
      progress.round = round
      this.#confirmReads()
    }
    return progress
  }

  /** Commits what majorities have, then what follows from it: joint configurations leave, removed leaders go. */
  #commit(nowMs: number): void {
    const { log, term, rules, options } = this.#deps
    const index = quorumReached(rules.quorumSets(log.configuration), store => this.matchOf(store))
    if (index <= log.committed || !rules.mayCommit(log.termAt(index)!, term)) return
    log.commitTo(index)
    if (log.configurationIndex > index) return
    const { voters, learners } = log.configuration
    if (isJoint(log.configuration)) {
      log.append(term, { kind: 'configuration', configuration: { voters, outgoing: [], learners } })
      this.#followConfiguration(nowMs)
      // With the outgoing voters gone, what is left to wait for may be there already.
      this.#commit(nowMs)
    } else if (!voters.includes(options.self)) {
      this.flush(nowMs)
      // A successor that has everything need not wait until it misses us.
      const successor = voters.find(store => this.matchOf(store) === log.lastIndex)
      if (successor !== undefined) this.#deps.send({ kind: 'timeoutNow', ...this.#header(successor) })
      this.#isOver = true
    }
  }

  /** Keeps track of exactly the members of the configuration, and of removed ones until they know. */
  #followConfiguration(nowMs: number): void {
    const { log, options } = this.#deps
    const members = new Set(membersOf(log.configuration))
    members.delete(options.self)
    for (const store of members) {
      const known = this.#progress.get(store)
      if (known === undefined) this.#progress.set(store, new Progress(log.lastIndex + 1, nowMs, options))
      else known.departsAtMs = Number.POSITIVE_INFINITY
    }
    for (const [store, progress] of this.#progress) {
      if (!members.has(store)) progress.departsAtMs = Math.min(progress.departsAtMs, nowMs + DEPARTURE_MS)
    }
  }

  #replicate(to: StoreId, progress: Progress, nowMs: number): void {
    const { log, options } = this.#deps
    while (!progress.isPaused) {
      if (progress.state === 'replicate' && progress.next > log.lastIndex && progress.toldCommit >= log.committed)
        return
      const prevIndex = progress.next - 1
      const prevTerm = log.termAt(prevIndex)
      if (prevTerm === undefined) {
        this.#sendSnapshot(to, progress, nowMs)
        return
      }
      const entries = log.entriesFrom(progress.next, options.appendBytesMax)
      this.#deps.send({
        kind: 'append',
        ...this.#header(to),
        prevIndex,
        prevTerm,
        entries,
        commit: log.committed,
        round: this.#reads.round
      })
      progress.sent(entries, log.committed)
    }
  }

  #sendSnapshot(to: StoreId, progress: Progress, nowMs: number): void {
    const { log, options } = this.#deps
    const { snapshot } = log
    // What is that long would be sent again and again to a store that is gone.
    if (snapshot === undefined || nowMs - progress.heardAtMs > options.electionMaxMs) return
    this.#deps.send({ kind: 'snapshot', ...this.#header(to), snapshot, round: this.#reads.round })
    progress.sentSnapshot(nowMs)
  }

  /** An append without entries to everybody: it tells the commit index, asks whether the logs agree, and carries the round. */
  #heartbeat(nowMs: number): void {
    const { log, options } = this.#deps
    this.#heartbeatAtMs = nowMs + options.heartbeatMs
    for (const [to, progress] of this.#progress) {
      const at = progress.state === 'snapshot' ? 0 : progress.next - 1
      const known = log.termAt(at)
      // Trimmed: there is nothing to ask any more, and an answer to what was sent before may never come.
      if (known === undefined && progress.state !== 'snapshot') progress.restart()
      const [prevIndex, prevTerm] = known === undefined ? [0, 0] : [at, known]
      const { committed: commit } = log
      const { round } = this.#reads
      this.#deps.send({ kind: 'append', ...this.#header(to), prevIndex, prevTerm, entries: [], commit, round })
    }
  }

  #confirmReads(): void {
    const { log, options, rules } = this.#deps
    const { round } = this.#reads
    const confirmed = rules.confirmsReads
      ? quorumReached(rules.quorumSets(log.configuration), store =>
          store === options.self ? round : (this.#progress.get(store)?.round ?? 0)
        )
      : round
    for (const { id, from, index } of this.#reads.take(confirmed)) {
      if (from === options.self) this.#deps.confirmed(id, index)
      else this.#deps.send({ kind: 'readReply', ...this.#header(from), id, index })
    }
  }

  #handOver(): void {
    const { log } = this.#deps
    const to = this.#transfer?.to
    if (to === undefined || this.#handedOver || this.matchOf(to) < log.lastIndex) return
    this.#handedOver = true
    this.#deps.send({ kind: 'timeoutNow', ...this.#header(to) })
  }

  #header(to: StoreId): { from: StoreId; to: StoreId; term: number } {
    return { from: this.#deps.options.self, to, term: this.#deps.term }
  }
}
