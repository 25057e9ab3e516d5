import { assert } from '../base/assert.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Random } from '../runtime/random.ts'
import { type Configuration, isJoint, isSoleVoter, isVoter, voteResult, votersOf } from './configuration.ts'
import { ElectionTimer } from './election-timer.ts'
import { Leadership, NOT_LEADER, type Proposed } from './leadership.ts'
import type { Append, RaftMessage, Snapshot, SnapshotMessage, VoteReply, VoteRequest } from './messages.ts'
import { type RaftOptions, withDefaults } from './options.ts'
import { Outbox } from './outbox.ts'
import type { ReadableProgress } from './progress.ts'
import { type LogState, RaftLog, type ReadableLog } from './raft-log.ts'
import { Readiness } from './readiness.ts'
import type { RaftRole, Ready, SoftState } from './ready.ts'
import { type RaftRules, SOUND_RAFT_RULES } from './rules.ts'

/** What the machine is made of. */
export interface RaftDeps {
  /** Draws election timeouts. */
  readonly random: Random
  /** Default {@link SOUND_RAFT_RULES}. */
  readonly rules?: RaftRules
}

/**
 * One member of a Raft group (Ongaro and Ousterhout 2014; Ongaro's thesis) as a machine: messages, proposals and the time
 * go in, messages to send and a {@link Ready} with everything else come out. It reads no clock, does no I/O and draws
 * chance only from what it is given, so that equal inputs give equal outputs. Who says what is told in `messages.ts`.
 *
 *     follower ──no leader for 1–2 s──► pre-candidate ──majority would vote──► candidate ──majority votes──► leader
 *         ▲                                   │                                   │                            │
 *         └───────── a leader, a higher term, a majority that refuses or, for a leader, does not answer ───────┘
 *
 * Differences from the paper: an election is asked for before it is held (pre-vote, thesis §9.6); a leader that a
 * majority does not answer steps down, and who hears from a leader elects no other (thesis §6.2, paper §6); a refused
 * append says how far back to go at once; configurations are joint only when voters change, and leave by themselves; a
 * candidate's vote for itself and a leader's own copy count only when durable; who is in no configuration, or a learner,
 * never stands for election.
 */
export class Raft {
  readonly #rules: RaftRules
  readonly #options: Required<RaftOptions>
  readonly #log: RaftLog
  readonly #timer: ElectionTimer
  readonly #outbox: Outbox
  readonly #readiness: Readiness
  #term: number
  #vote: StoreId | undefined
  #leader: StoreId | undefined
  #role: RaftRole = 'follower'
  #leadership: Leadership | undefined
  /** Votes of the election that is held or asked for. */
  #votes = new Map<StoreId, boolean>()

  constructor({ random, rules = SOUND_RAFT_RULES }: RaftDeps, options: RaftOptions, state: LogState, nowMs: number) {
    this.#rules = rules
    this.#options = withDefaults(options)
    this.#log = new RaftLog(state)
    this.#timer = new ElectionTimer(random, this.#options)
    this.#outbox = new Outbox(options.self, rules.waitsForDisk)
    this.#term = state.hardState.term
    this.#vote = rules.restoredVote(state.hardState.vote)
    const { applyMax } = this.#options
    this.#readiness = new Readiness(this.#log, this.#outbox, applyMax, state.hardState, this.#softState())
    this.#timer.restart(nowMs, isSoleVoter(this.configuration, options.self))
  }

  get term(): number {
    return this.#term
  }

  get leader(): StoreId | undefined {
    return this.#leader
  }

  get role(): RaftRole {
    return this.#role
  }

  /** The latest configuration in the log, committed or not. */
  get configuration(): Configuration {
    return this.#log.configuration
  }

  /** Whether the latest configuration is committed, and no other must follow it. */
  get isSettled(): boolean {
    return this.#log.configurationIndex <= this.#log.committed && !isJoint(this.configuration)
  }

  /** For reading only. */
  get log(): ReadableLog {
    return this.#log
  }

  /** Leader: whom leadership is being handed to. */
  get transferee(): StoreId | undefined {
    return this.#leadership?.transferee
  }

  /** When {@link tick} has something to do. */
  get deadlineMs(): number {
    if (this.#leadership !== undefined) return this.#leadership.deadlineMs
    return this.#mayStand || this.#leader !== undefined ? this.#timer.dueAtMs : Number.POSITIVE_INFINITY
  }

  /** Leader: what is known of a follower. */
  progressOf(store: StoreId): ReadableProgress | undefined {
    return this.#leadership?.progressOf(store)
  }

  /** A message has arrived. What is not for this store is dropped. */
  step(message: RaftMessage, nowMs: number): void {
    const { self } = this.#options
    if (message.to !== self || message.from === self) return
    if (message.term > this.#term) {
      const { kind } = message
      // Whoever hears from a leader helps nobody against it: a removed or cut-off voter does no harm (Raft §6).
      if (kind === 'vote' && !message.transfer && this.#hasLeader(nowMs)) return
      // A question about an election in a coming term, and the consent to it, begin no term.
      const isHypothetical =
        (kind === 'vote' && message.pre) || (kind === 'voteReply' && message.pre && message.granted)
      if (!isHypothetical) this.#follow(message.term, undefined, nowMs)
    } else if (message.term < this.#term) {
      this.#correct(message)
      return
    }
    this.#dispatch(message, nowMs)
    this.#resignIfOver(nowMs)
  }

  /** The time. To be called after everything that has already arrived was given to {@link step}. */
  tick(nowMs: number): void {
    if (nowMs < this.deadlineMs) return
    this.#leadership?.tick(nowMs)
    this.#resignIfOver(nowMs)
    if (nowMs < this.deadlineMs) return
    if (this.#mayStand) this.#ask(nowMs)
    else this.#follow(this.#term, undefined, nowMs)
  }

  /** Leader: appends a command. */
  propose(command: Uint8Array, nowMs: number): Proposed {
    return this.#leadership?.propose({ kind: 'command', command }, nowMs) ?? NOT_LEADER
  }

  /** Leader: begins to move to the given voters and learners, with a joint configuration in between if voters change. */
  changeConfiguration(voters: readonly StoreId[], learners: readonly StoreId[], nowMs: number): Proposed {
    const leadership = this.#leadership
    if (leadership === undefined) return NOT_LEADER
    assert(voters.length > 0, 'a group keeps a voter')
    const configuration = leadership.changeTo(voters, learners)
    return leadership.propose({ kind: 'configuration', configuration }, nowMs)
  }

  /** Leader: hands over to a voter as soon as that has the whole log. False when there is nothing to hand over to it. */
  transferLeadership(to: StoreId, nowMs: number): boolean {
    return this.#leadership?.transfer(to, nowMs) ?? false
  }

  /**
   * Asks for a read: `Ready.reads` names the index to wait for. May be forgotten (no leader, a change of leader, a lost
   * message), so that the caller has to ask again with the same number. False when it was not even tried.
   */
  read(id: number): boolean {
    if (this.#leadership !== undefined) this.#leadership.read(id, this.#options.self)
    else if (this.#leader !== undefined) this.#outbox.send({ kind: 'read', ...this.#header(this.#leader), id })
    else return false
    return true
  }

  /** Takes the messages that need not wait for the disk. */
  takeMessages(nowMs: number): RaftMessage[] {
    this.#leadership?.flush(nowMs)
    return this.#outbox.takeEarly()
  }

  /** What there is to do; `undefined` when nothing is, or {@link advance} has not been called. */
  ready(): Ready | undefined {
    return this.#readiness.next({ term: this.#term, vote: this.#vote, leader: this.#leader, role: this.#role })
  }

  /** The last {@link Ready} is done. */
  advance(nowMs: number): void {
    const { self } = this.#options
    const written = this.#readiness.done()
    if (this.#role === 'candidate' && written?.term === this.#term && written.vote === self) {
      this.#votes.set(self, true)
      this.#tally(nowMs)
    }
    this.#leadership?.wrote(nowMs)
    this.#resignIfOver(nowMs)
  }

  /** A snapshot of the applied state is durable; entries below an index are trimmed. */
  trim(snapshot: Snapshot, firstIndex: number): void {
    this.#log.trim(snapshot, firstIndex)
  }

  /**
   * Whether this node stands for election when there is no leader. Whoever is being removed still does until its removal
   * is committed: nobody else may have the entry that says so (thesis §4.2.2).
   */
  get #mayStand(): boolean {
    const { self } = this.#options
    if (isVoter(this.configuration, self)) return true
    const { configurationIndex, committed } = this.#log
    return configurationIndex > committed && isVoter(this.#log.configurationAt(configurationIndex - 1), self)
  }

  #dispatch(message: RaftMessage, nowMs: number): void {
    switch (message.kind) {
      case 'vote':
        this.#answerCandidate(message, nowMs)
        break
      case 'voteReply':
        this.#countVote(message, nowMs)
        break
      case 'append':
        this.#append(message, nowMs)
        break
      case 'snapshot':
        this.#restore(message, nowMs)
        break
      case 'appendReply':
        this.#leadership?.appendReply(message, nowMs)
        break
      case 'appendRefusal':
        this.#leadership?.appendRefusal(message, nowMs)
        break
      case 'timeoutNow':
        if (this.#mayStand && this.#leader === message.from) this.#stand(true, nowMs)
        break
      case 'read':
        this.#leadership?.read(message.id, message.from)
        break
      case 'readReply':
        this.#readiness.addRead({ id: message.id, index: message.index })
        break
    }
  }

  /** Answers a message of a term that is over, where silence would leave its sender stuck. */
  #correct(message: RaftMessage): void {
    const { kind, from } = message
    if (kind === 'append' || kind === 'snapshot') {
      // Its sender cannot know that it leads no more, and this node will not follow it.
      const { lastIndex: hintIndex, lastTerm: hintTerm } = this.#log
      const refusal = { kind: 'appendRefusal', prevIndex: 0, hintIndex, hintTerm, round: 0 } as const
      this.#outbox.promise({ ...refusal, ...this.#header(from) })
    } else if (kind === 'vote' && message.pre) {
      this.#outbox.promise({ kind: 'voteReply', ...this.#header(from), pre: true, granted: false })
    }
  }

  #answerCandidate({ from, term, pre, lastIndex, lastTerm }: VoteRequest, nowMs: number): void {
    const isFree = this.#vote === from || (this.#vote === undefined && this.#leader === undefined)
    const isUpToDate = this.#rules.isUpToDate({ lastIndex, lastTerm }, this.#log)
    const granted = (isFree || (pre && term > this.#term)) && isUpToDate
    // Whoever only asks is answered in the term it asks for, in which nothing is promised.
    const header = this.#outbox.header(from, granted ? term : this.#term)
    this.#outbox.promise({ kind: 'voteReply', ...header, pre, granted })
    if (!granted || pre) return
    this.#vote = from
    this.#timer.extend(nowMs)
  }

  #countVote({ from, pre, granted }: VoteReply, nowMs: number): void {
    if (this.#role !== (pre ? 'pre-candidate' : 'candidate') || this.#votes.has(from)) return
    this.#votes.set(from, granted)
    this.#tally(nowMs)
  }

  #append({ from, prevIndex, prevTerm, entries, commit, round }: Append, nowMs: number): void {
    if (!this.#heed(from, nowMs)) return
    const log = this.#log
    // What is committed here is in the log of every later leader.
    if (prevIndex >= log.committed && log.termAt(prevIndex) !== prevTerm) {
      const { index: hintIndex, term: hintTerm } = log.agreementBelow(prevIndex, prevTerm)
      const refusal = { kind: 'appendRefusal', prevIndex, hintIndex, hintTerm, round } as const
      this.#outbox.promise({ ...refusal, ...this.#header(from) })
      return
    }
    const match = log.accept(prevIndex, entries)
    log.commitTo(Math.min(commit, match))
    this.#outbox.promise({ kind: 'appendReply', ...this.#header(from), match, round })
  }

  #restore({ from, snapshot, round }: SnapshotMessage, nowMs: number): void {
    if (!this.#heed(from, nowMs)) return
    const log = this.#log
    // A log that has what the snapshot stands for only learns that it is committed (Raft §7).
    if (log.termAt(snapshot.index) === snapshot.term) log.commitTo(snapshot.index)
    else if (snapshot.index > log.committed) log.restore(snapshot)
    this.#outbox.promise({ kind: 'appendReply', ...this.#header(from), match: log.committed, round })
  }

  /** The term has a leader. False when that cannot be: there is one leader in a term. */
  #heed(leader: StoreId, nowMs: number): boolean {
    if (this.#leadership !== undefined || (this.#leader !== undefined && this.#leader !== leader)) return false
    if (this.#leader === undefined) this.#follow(this.#term, leader, nowMs)
    this.#timer.heard(nowMs)
    return true
  }

  #follow(term: number, leader: StoreId | undefined, nowMs: number): void {
    if (term !== this.#term) this.#vote = undefined
    this.#term = term
    this.#leader = leader
    this.#role = 'follower'
    this.#leadership = undefined
    this.#votes.clear()
    this.#timer.restart(nowMs)
  }

  /** Asks whether an election would be won (pre-vote), so that a node that would lose it does not raise the term. */
  #ask(nowMs: number): void {
    this.#follow(this.#term, undefined, nowMs)
    this.#role = 'pre-candidate'
    this.#votes.set(this.#options.self, true)
    const { lastIndex, lastTerm } = this.#log
    for (const to of this.#otherVoters()) {
      const header = this.#outbox.header(to, this.#term + 1)
      this.#outbox.send({ kind: 'vote', ...header, pre: true, transfer: false, lastIndex, lastTerm })
    }
    this.#tally(nowMs)
  }

  /** Stands for election. The own vote counts when it is durable. */
  #stand(transfer: boolean, nowMs: number): void {
    this.#follow(this.#term + 1, undefined, nowMs)
    this.#role = 'candidate'
    this.#vote = this.#options.self
    const { lastIndex, lastTerm } = this.#log
    for (const to of this.#otherVoters()) {
      this.#outbox.promise({ kind: 'vote', ...this.#header(to), pre: false, transfer, lastIndex, lastTerm })
    }
  }

  #tally(nowMs: number): void {
    const result = voteResult(this.#rules.quorumSets(this.configuration), store => this.#votes.get(store))
    if (result === 'lost') this.#follow(this.#term, undefined, nowMs)
    else if (result === 'won' && this.#role === 'pre-candidate') this.#stand(false, nowMs)
    else if (result === 'won') this.#lead(nowMs)
  }

  #lead(nowMs: number): void {
    this.#role = 'leader'
    this.#leader = this.#options.self
    const deps = {
      term: this.#term,
      log: this.#log,
      rules: this.#rules,
      options: this.#options,
      send: (message: RaftMessage): void => this.#outbox.send(message),
      confirmed: (id: number, index: number): void => this.#readiness.addRead({ id, index })
    }
    this.#leadership = new Leadership(deps, nowMs)
  }

  #resignIfOver(nowMs: number): void {
    if (this.#leadership?.isOver === true) this.#follow(this.#term, undefined, nowMs)
  }

  #hasLeader(nowMs: number): boolean {
    return this.#leadership !== undefined || (this.#leader !== undefined && this.#timer.hasHeardLately(nowMs))
  }

  #otherVoters(): StoreId[] {
    return votersOf(this.configuration).filter(store => store !== this.#options.self)
  }

  #header(to: StoreId): ReturnType<Outbox['header']> {
    return this.#outbox.header(to, this.#term)
  }

  #softState(): SoftState {
    return { term: this.#term, leader: this.#leader, role: this.#role }
  }
}
