import { assert } from '../base/assert.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Random } from '../runtime/random.ts'
import { type Configuration, isVoter, participants } from './configuration.ts'
import type { Entry, Outgoing, RaftMessage, Snapshot } from './messages.ts'
import { newProgress, type Progress } from './progress.ts'
import type { RaftLog } from './raft-log.ts'
import { RAFT_RULES, type RaftRules } from './rules.ts'

/** What must survive a crash besides the log. */
export interface HardState {
  readonly term: number
  readonly vote: StoreId | undefined
}

/** Part that a store plays in the present term. */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/**
 * Work that the machine hands to its shell, in this order: make `hardState`, `snapshot` and `entries` durable in one
 * batch; call `persisted`; then send `messages` (R1: none leaves before) and apply `snapshot` and `committed`.
 */
export interface Ready {
  readonly hardState: HardState | undefined
  /** A snapshot from the leader: it replaces the whole log. */
  readonly snapshot: Snapshot | undefined
  /** New entries; they overwrite whatever was stored at their indexes and after. */
  readonly entries: readonly Entry[]
  /** First index that is no longer valid on the medium, when the log was cut. */
  readonly truncateFrom: number | undefined
  readonly messages: readonly Outgoing[]
  readonly committed: readonly Entry[]
  /** Reads (by the number that `readIndex` gave) that may be served once this index is applied. */
  readonly reads: readonly { readonly id: number; readonly index: number }[]
  readonly lostReads: readonly number[]
}

/** Settings of a machine. */
export interface RaftOptions {
  readonly self: StoreId
  readonly hardState: HardState
  readonly log: RaftLog
  readonly random: Random
  readonly nowMs: number
  /** Shortest time without a leader after which one campaigns; up to twice as long by chance. Default 1,000. */
  readonly electionTimeoutMs?: number
  /** Default 150. */
  readonly heartbeatMs?: number
  readonly rules?: RaftRules
}

const BYTES_PER_APPEND = 1024 * 1024

/**
 * Raft (Ongaro and Ousterhout, 2014; Ongaro's thesis, 2014) as a pure machine: input through `step`, `tick`, `propose`,
 * `readIndex`; work comes out through `takeReady`. No clock, no chance but what is handed in, no I/O.
 *
 * Differences from the paper: pre-votes (thesis §9.6); a leader that does not hear from a quorum within an election
 * timeout steps down, and voters that hear from a leader ignore candidates (check-quorum, §6); joint changes only, left
 * automatically; entries are pipelined; the leader counts its own copy only when it is durable.
 */
export class Raft {
  readonly self: StoreId
  readonly log: RaftLog
  role: Role = 'follower'
  leader: StoreId | undefined
  term: number
  commit: number
  applied: number
  readonly #random: Random
  readonly #rules: RaftRules
  readonly #electionTimeoutMs: number
  readonly #heartbeatMs: number
  #vote: StoreId | undefined
  #now: number
  #electionAt = 0
  #heartbeatAt = 0
  #quorumCheckAt = 0
  #heardLeaderAt = -Infinity
  #votes = new Map<StoreId, boolean>()
  #progress = new Map<StoreId, Progress>()
  #round = 0
  #waitingReads: { readonly id: number; readonly round: number; readonly index: number }[] = []
  #nextRead = 1
  #messages: Outgoing[] = []
  #reads: { readonly id: number; readonly index: number }[] = []
  #lostReads: number[] = []
  #hardStateChanged = false
  #newSnapshot: Snapshot | undefined
  #truncateFrom: number | undefined
  #handed: number

  constructor(options: RaftOptions) {
    this.self = options.self
    this.log = options.log
    this.term = options.hardState.term
    this.#vote = options.hardState.vote
    this.commit = options.log.base
    this.applied = options.log.base
    this.#handed = options.log.lastIndex
    this.#random = options.random
    this.#rules = options.rules ?? RAFT_RULES
    this.#electionTimeoutMs = options.electionTimeoutMs ?? 1000
    this.#heartbeatMs = options.heartbeatMs ?? 150
    this.#now = options.nowMs
    this.#resetElection()
  }

  get configuration(): Configuration {
    return this.log.configuration
  }

  get vote(): StoreId | undefined {
    return this.#vote
  }

  /** When the machine next wants to be ticked, on the clock that `tick` is told. */
  get wakeAtMs(): number {
    return this.role === 'leader' ? Math.min(this.#heartbeatAt, this.#quorumCheckAt) : this.#electionAt
  }

  tick(nowMs: number): void {
    this.#now = Math.max(this.#now, nowMs)
    if (this.role === 'leader') {
      if (this.#now >= this.#quorumCheckAt) this.#checkQuorum()
      if (this.role === 'leader' && this.#now >= this.#heartbeatAt) this.#heartbeat()
    } else if (this.#now >= this.#electionAt) {
      if (isVoter(this.configuration, this.self)) this.#campaign(true, false)
      else this.#resetElection()
    }
  }

  /** Appends an entry as the leader; its index, or `undefined` when this is not the leader. */
  propose(content: Entry['content']): number | undefined {
    if (this.role !== 'leader') return undefined
    const index = this.log.lastIndex + 1
    this.log.append({ index, term: this.term, content })
    if (content.kind === 'configuration') this.#followConfiguration()
    if (this.#rules.countSelfEarly) this.#advanceCommit()
    this.#broadcast()
    return index
  }

  /** Leader only: a joint or learner change may begin when the latest configuration is committed and not joint. */
  get mayReconfigure(): boolean {
    return this.role === 'leader' && this.configuration.next === undefined && this.log.configurationIndex <= this.commit
  }

  /** Begins to confirm leadership for a read; the number under which it will be ready, or `undefined` if not leading. */
  readIndex(): number | undefined {
    // Without an entry of its own term a leader does not know yet what is committed (§8).
    if (this.role !== 'leader' || this.log.termAt(this.commit) !== this.term) return undefined
    const id = this.#nextRead++
    this.#waitingReads.push({ id, round: ++this.#round, index: this.commit })
    this.#broadcast(true)
    this.#confirmReads()
    return id
  }

  /** Asks a voter that has the whole log to take over at once. */
  transferLeadership(to: StoreId): boolean {
    if (this.role !== 'leader' || this.#progress.get(to)?.match !== this.log.lastIndex) return false
    this.#send(to, { kind: 'timeoutNow', term: this.term })
    return true
  }

  /** How far a participant's log matches; 0 if unknown. Leader only. */
  matchOf(store: StoreId): number {
    return this.#progress.get(store)?.match ?? 0
  }

  /** Trims the log: the machine's user has applied everything up to `index`, whose state is `data`. */
  compact(index: number, data: Uint8Array): void {
    assert(index <= this.applied, 'only applied entries are trimmed')
    this.log.compact({ index, term: this.log.termAt(index)!, configuration: this.log.configurationAt(index), data })
  }

  step(from: StoreId, message: RaftMessage): void {
    if (message.term > this.term && !this.#keepsTerm(message)) {
      const leads = message.kind === 'append' || message.kind === 'snapshot'
      this.#becomeFollower(message.term, leads ? from : undefined)
    }
    switch (message.kind) {
      case 'vote':
        return this.#onVote(from, message)
      case 'voteReply':
        return this.#onVoteReply(from, message)
      case 'append':
        return this.#onAppend(from, message)
      case 'appendReply':
        return this.#onAppendReply(from, message)
      case 'snapshot':
        return this.#onSnapshot(from, message)
      case 'timeoutNow':
        if (message.term === this.term && isVoter(this.configuration, this.self)) this.#campaign(false, true)
    }
  }

  /** Whether `takeReady` would give something. */
  get hasWork(): boolean {
    return (
      this.#hardStateChanged ||
      this.#newSnapshot !== undefined ||
      this.#truncateFrom !== undefined ||
      this.#messages.length + this.#reads.length + this.#lostReads.length > 0 ||
      this.log.lastIndex > this.#handed ||
      Math.min(this.commit, this.log.stable) > this.applied
    )
  }

  /** A group of one needs nobody's vote: it leads at once instead of after a timeout. */
  campaignAlone(): void {
    this.#campaign(false, false)
  }

  /** The work that has come up; `undefined` when there is none. */
  takeReady(): Ready | undefined {
    if (!this.hasWork) return undefined
    const entries = this.log.slice(this.#handed, this.log.lastIndex)
    const last = Math.min(this.commit, this.log.stable)
    const committed = this.#newSnapshot === undefined ? this.log.slice(this.applied, last) : []
    const ready: Ready = {
      hardState: this.#hardStateChanged ? { term: this.term, vote: this.#vote } : undefined,
      snapshot: this.#newSnapshot,
      entries,
      truncateFrom: this.#truncateFrom,
      messages: this.#messages,
      committed,
      reads: this.#reads,
      lostReads: this.#lostReads
    }
    this.#hardStateChanged = false
    this.#truncateFrom = undefined
    this.#handed = this.log.lastIndex
    this.#messages = []
    this.#reads = []
    this.#lostReads = []
    if (this.#newSnapshot !== undefined) this.applied = this.#newSnapshot.index
    this.#newSnapshot = undefined
    if (committed.length > 0) this.applied = committed.at(-1)!.index
    return ready
  }

  /** The entries of a ready are durable. */
  persisted({ entries }: Ready): void {
    const last = entries.at(-1)
    if (last === undefined) return
    this.log.markStable(last.index, last.term)
    if (this.role === 'leader') this.#advanceCommit()
  }

  /** Messages of a later term that do not make us join it: requests and answers about a term that may never begin. */
  #keepsTerm(message: RaftMessage): boolean {
    if (message.kind === 'vote') return message.pre || (!message.force && this.#hasLeader())
    return message.kind === 'voteReply' && message.pre && message.granted
  }

  #hasLeader(): boolean {
    // A leader steps down by itself when it loses its quorum; until then candidates are not listened to.
    if (this.role === 'leader') return true
    return this.leader !== undefined && this.#now - this.#heardLeaderAt < this.#electionTimeoutMs
  }

  #onVote(from: StoreId, { term, pre, force, lastIndex, lastTerm }: Extract<RaftMessage, { kind: 'vote' }>): void {
    if (this.#hasLeader() && !force && (pre || term > this.term)) return
    if (term < this.term) return this.#send(from, { kind: 'voteReply', term: this.term, pre, granted: false })
    const upToDate = lastTerm > this.log.lastTerm || (lastTerm === this.log.lastTerm && lastIndex >= this.log.lastIndex)
    const free = pre ? term > this.term : this.#vote === undefined || this.#vote === from
    const granted = upToDate && free
    if (granted && !pre) {
      this.#vote = from
      this.#hardStateChanged = true
      this.#resetElection()
    }
    this.#send(from, { kind: 'voteReply', term: pre && granted ? term : this.term, pre, granted })
  }

  #onVoteReply(from: StoreId, { term, pre, granted }: Extract<RaftMessage, { kind: 'voteReply' }>): void {
    const awaited = pre ? this.role === 'preCandidate' : this.role === 'candidate'
    if (!awaited || (granted && term !== (pre ? this.term + 1 : this.term))) return
    this.#votes.set(from, granted)
    this.#countVotes()
  }

  #countVotes(): void {
    if (this.#rules.isQuorum(this.configuration, store => this.#votes.get(store) === true)) {
      if (this.role === 'preCandidate') this.#campaign(false, false)
      else this.#becomeLeader()
    } else if (this.#rules.isQuorum(this.configuration, store => this.#votes.get(store) === false)) {
      this.#becomeFollower(this.term, undefined)
    }
  }

  #campaign(pre: boolean, force: boolean): void {
    this.role = pre ? 'preCandidate' : 'candidate'
    this.leader = undefined
    this.#votes = new Map([[this.self, true]])
    if (!pre) {
      this.term++
      this.#vote = this.self
      this.#hardStateChanged = true
    }
    this.#resetElection()
    const term = pre ? this.term + 1 : this.term
    const { lastIndex, lastTerm } = this.log
    for (const to of participants(this.configuration)) {
      if (to === this.self || !isVoter(this.configuration, to)) continue
      this.#send(to, { kind: 'vote', term, pre, force, lastIndex, lastTerm })
    }
    this.#countVotes()
  }

  #becomeLeader(): void {
    this.role = 'leader'
    this.leader = this.self
    this.#progress = new Map()
    this.#followConfiguration()
    this.#quorumCheckAt = this.#now + this.#electionTimeoutMs
    this.propose({ kind: 'empty' })
    this.#heartbeatAt = this.#now + this.#heartbeatMs
  }

  #becomeFollower(term: number, leader: StoreId | undefined): void {
    if (term > this.term) {
      this.term = term
      this.#vote = undefined
      this.#hardStateChanged = true
    }
    for (const { id } of this.#waitingReads) this.#lostReads.push(id)
    this.#waitingReads = []
    this.role = 'follower'
    this.leader = leader
    this.#resetElection()
  }

  #onAppend(from: StoreId, message: Extract<RaftMessage, { kind: 'append' }>): void {
    const { term, prevIndex, prevTerm, entries, commit, round } = message
    if (term < this.term) return this.#refuse(from, 0, round)
    this.#follow(from)
    if (prevIndex < this.commit) {
      // Everything up to our commit index matches by definition; the rest of the message is looked at below.
      const rest = entries.filter(({ index }) => index > this.commit)
      if (rest.length === 0) return this.#accept(from, this.commit, round)
      return this.#onAppend(from, {
        ...message,
        prevIndex: this.commit,
        prevTerm: this.log.termAt(this.commit)!,
        entries: rest
      })
    }
    if (this.log.termAt(prevIndex) !== prevTerm) {
      return this.#refuse(from, Math.min(prevIndex - 1, this.#lastIndexBefore(prevIndex, prevTerm)), round)
    }
    for (const entry of entries) {
      const known = this.log.termAt(entry.index)
      if (known === entry.term) continue
      if (known !== undefined) {
        assert(entry.index > this.commit, 'a committed entry is never replaced')
        this.log.truncate(entry.index)
        this.#truncateFrom = Math.min(this.#truncateFrom ?? entry.index, entry.index)
        this.#handed = Math.min(this.#handed, entry.index - 1)
      }
      this.log.append(entry)
    }
    const match = prevIndex + entries.length
    this.commit = Math.max(this.commit, Math.min(commit, match))
    this.#accept(from, match, round)
  }

  /** Where the leader should look next: the end of our log, or the last entry of a term not later than its own. */
  #lastIndexBefore(prevIndex: number, prevTerm: number): number {
    let index = Math.min(prevIndex, this.log.lastIndex)
    while (index > this.log.base && (this.log.termAt(index) ?? 0) > prevTerm) index--
    return index
  }

  #onSnapshot(from: StoreId, { term, snapshot, round }: Extract<RaftMessage, { kind: 'snapshot' }>): void {
    if (term < this.term) return this.#refuse(from, 0, round)
    this.#follow(from)
    if (snapshot.index <= this.commit) return this.#accept(from, this.commit, round)
    if (this.log.termAt(snapshot.index) === snapshot.term) {
      this.commit = snapshot.index
    } else {
      this.log.reset(snapshot)
      this.commit = snapshot.index
      this.#handed = snapshot.index
      this.#truncateFrom = undefined
      this.#newSnapshot = snapshot
    }
    this.#accept(from, snapshot.index, round)
  }

  #follow(leader: StoreId): void {
    assert(this.role !== 'leader', 'one leader each term')
    if (this.role !== 'follower') this.#becomeFollower(this.term, leader)
    this.leader = leader
    this.#heardLeaderAt = this.#now
    this.#resetElection()
  }

  #accept(to: StoreId, index: number, round: number): void {
    this.#send(to, { kind: 'appendReply', term: this.term, ok: true, index, round })
  }

  #refuse(to: StoreId, index: number, round: number): void {
    this.#send(to, { kind: 'appendReply', term: this.term, ok: false, index: Math.max(0, index), round })
  }

  #onAppendReply(from: StoreId, { term, ok, index, round }: Extract<RaftMessage, { kind: 'appendReply' }>): void {
    const progress = this.#progress.get(from)
    if (this.role !== 'leader' || term !== this.term || progress === undefined) return
    progress.active = true
    progress.paused = false
    progress.round = Math.max(progress.round, round)
    if (ok) {
      if (index > progress.match) progress.match = index
      progress.next = Math.max(progress.next, progress.match + 1)
      progress.probing = false
      this.#advanceCommit()
    } else {
      progress.probing = true
      progress.next = Math.max(progress.match + 1, Math.min(progress.next - 1, index + 1))
    }
    if (progress.next <= this.log.lastIndex || !ok) this.#sendAppend(from, progress, false)
    this.#confirmReads()
  }

  #advanceCommit(): void {
    const own = this.#rules.countSelfEarly ? this.log.lastIndex : this.log.stable
    const matchOf = (store: StoreId): number => (store === this.self ? own : (this.#progress.get(store)?.match ?? 0))
    let index = this.log.lastIndex
    while (index > this.commit && !this.#rules.isQuorum(this.configuration, store => matchOf(store) >= index)) index--
    // §5.4.2: only entries of the present term are committed by counting; earlier ones follow with them.
    if (index <= this.commit || (this.log.termAt(index) !== this.term && !this.#rules.commitEarlierTerms)) return
    this.commit = index
    this.#leaveJoint()
    this.#broadcast(true)
  }

  #leaveJoint(): void {
    const { configuration } = this
    if (this.log.configurationIndex > this.commit) return
    if (configuration.next !== undefined) {
      const learners = configuration.learners.filter(store => !configuration.next!.includes(store))
      this.propose({ kind: 'configuration', configuration: { voters: configuration.next, next: undefined, learners } })
    } else if (!isVoter(configuration, this.self)) this.#becomeFollower(this.term, undefined)
  }

  #followConfiguration(): void {
    const members = participants(this.configuration)
    for (const store of members) {
      if (store !== this.self && !this.#progress.has(store)) this.#progress.set(store, newProgress(this.log.lastIndex))
    }
    for (const store of this.#progress.keys()) if (!members.includes(store)) this.#progress.delete(store)
  }

  #checkQuorum(): void {
    this.#quorumCheckAt = this.#now + this.#electionTimeoutMs
    const active = (store: StoreId): boolean => store === this.self || this.#progress.get(store)?.active === true
    const quorum = this.#rules.isQuorum(this.configuration, active)
    for (const progress of this.#progress.values()) progress.active = false
    if (!quorum) this.#becomeFollower(this.term, undefined)
  }

  #heartbeat(): void {
    this.#heartbeatAt = this.#now + this.#heartbeatMs
    for (const progress of this.#progress.values()) progress.paused = false
    this.#broadcast(true)
  }

  #broadcast(evenIfEmpty = false): void {
    for (const [store, progress] of this.#progress) this.#sendAppend(store, progress, evenIfEmpty)
  }

  #sendAppend(to: StoreId, progress: Progress, evenIfEmpty: boolean): void {
    const { log } = this
    if (progress.probing && progress.paused && !evenIfEmpty) return
    const prevIndex = progress.next - 1
    const prevTerm = log.termAt(prevIndex)
    if (prevTerm === undefined || prevIndex < log.base) {
      if (progress.paused || log.snapshot === undefined) return
      progress.paused = true
      this.#send(to, { kind: 'snapshot', term: this.term, snapshot: log.snapshot, round: this.#round })
      return
    }
    const entries = progress.probing && progress.paused ? [] : log.slice(prevIndex, log.lastIndex, BYTES_PER_APPEND)
    if (entries.length === 0 && !evenIfEmpty && !progress.probing) return
    if (progress.probing) progress.paused = true
    else progress.next += entries.length
    this.#send(to, {
      kind: 'append',
      term: this.term,
      prevIndex,
      prevTerm,
      entries,
      commit: this.commit,
      round: this.#round
    })
  }

  #confirmReads(): void {
    if (this.#waitingReads.length === 0) return
    this.#waitingReads = this.#waitingReads.filter(({ id, round, index }) => {
      const confirmed = (store: StoreId): boolean =>
        store === this.self || (this.#progress.get(store)?.round ?? 0) >= round
      if (!this.#rules.isQuorum(this.configuration, confirmed)) return true
      this.#reads.push({ id, index })
      return false
    })
  }

  #resetElection(): void {
    this.#electionAt = this.#now + this.#electionTimeoutMs + this.#random.int(this.#electionTimeoutMs)
  }

  #send(to: StoreId, message: RaftMessage): void {
    this.#messages.push({ to, message })
  }
}
