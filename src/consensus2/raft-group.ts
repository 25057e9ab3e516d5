import { createDeferred, type Deferred } from '../base/deferred.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Store } from '../storage/store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import type { Configuration } from './configuration.ts'
import type { Group, GroupEvents, GroupMembers, StateMachine } from './group.ts'
import { LogStore } from './log-store.ts'
import type { Entry } from './messages.ts'
import { Raft, type Ready } from './raft.ts'
import { RAFT_RULES, type RaftRules } from './rules.ts'
import { decodeRaftMessage, encodeRaftMessage } from './wire.ts'

/** What a group needs. */
export interface RaftGroupDeps {
  readonly transport: Transport
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly machine: StateMachine
  /** Where a member can be reached; `undefined` while nobody knows. */
  readonly peerOf: (store: StoreId) => PeerId | undefined
}

/** Which group, and whose part in it. */
export interface RaftGroupOptions {
  readonly group: number
  readonly self: StoreId
  readonly rules?: RaftRules
}

/** Entries after which the log is replaced by a snapshot. */
const KEEP_ENTRIES = 10_000
const KEEP_BYTES = 64 * 1024 * 1024
/** Commands that may wait to be applied. */
const PENDING_MAX = 4096
/** How far a learner may be behind when it becomes a voter, in entries. */
const CAUGHT_UP_WITHIN = 64

/** How often a condition is looked at when nothing is applied, ms. */
const POLL_MS = 50

interface Proposal extends Deferred<number> {
  readonly term: number
}

/**
 * Drives one {@link Raft} machine: feeds it messages and time, makes its work durable, then sends and applies. A failing
 * disk stops the group: a node that cannot keep its word must not give it.
 */
export class RaftGroup implements Group {
  readonly self: StoreId
  readonly #deps: RaftGroupDeps
  readonly #group: number
  readonly #rules: RaftRules
  readonly #logStore: LogStore
  readonly #events = new Emitter<GroupEvents>()
  readonly #proposals = new Map<number, Proposal>()
  readonly #reads = new Map<number, Deferred<number>>()
  readonly #waiters = new Set<() => void>()
  #raft: Raft | undefined
  #timer: Timer | undefined
  #pumping = false
  #stopped = false
  #announced: StoreId | undefined

  constructor(deps: RaftGroupDeps, { group, self, rules = RAFT_RULES }: RaftGroupOptions) {
    this.self = self
    this.#deps = deps
    this.#group = group
    this.#rules = rules
    this.#logStore = new LogStore(deps.store, group)
  }

  get leader(): StoreId | undefined {
    return this.#raft?.leader
  }

  get term(): number {
    return this.#raft?.term ?? 0
  }

  get isLeader(): boolean {
    return this.#raft?.role === 'leader'
  }

  get appliedIndex(): number {
    return this.#raft?.applied ?? 0
  }

  members(): GroupMembers {
    const { voters, next, learners } = this.#configuration()
    return { voters: next ?? voters, learners, changing: next !== undefined }
  }

  async start(): Promise<void> {
    const { clock, random, machine, transport } = this.#deps
    const { hardState, log } = await this.#logStore.load()
    if (this.#stopped) return
    if (log.snapshot !== undefined && log.snapshot.index > 0) machine.restore(log.snapshot.index, log.snapshot.data)
    const options = { self: this.self, hardState, log, random, nowMs: clock.monotonicMs(), rules: this.#rules }
    this.#raft = new Raft(options)
    transport.handle(MessageType.RAFT, ({ body }) => this.#onMessage(body))
    const { voters, next } = this.#raft.configuration
    if (next === undefined && voters.length === 1 && voters[0] === this.self) this.#raft.campaignAlone()
    this.#pump()
  }

  stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    const stopped = new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    for (const { reject } of [...this.#proposals.values(), ...this.#reads.values()]) reject(stopped)
    this.#proposals.clear()
    this.#reads.clear()
    for (const wake of this.#waiters) wake()
    return Promise.resolve()
  }

  async propose(command: Uint8Array, timeoutMs: number): Promise<number> {
    const raft = this.#running()
    if (this.#proposals.size >= PENDING_MAX)
      throw new KilovoltError('KV_OVERLOADED', 'too many commands wait', { retryable: true })
    const index = raft.propose({ kind: 'command', command })
    if (index === undefined) throw this.#notLeader()
    const proposal: Proposal = { ...createDeferred<number>(), term: raft.term }
    this.#proposals.set(index, proposal)
    this.#pump()
    return this.#within(proposal, timeoutMs, 'a command', () => this.#proposals.delete(index))
  }

  async changeVoters(voters: readonly StoreId[], timeoutMs: number): Promise<void> {
    const raft = this.#running()
    const deadline = this.#deps.clock.monotonicMs() + timeoutMs
    const wait = (what: string, done: () => boolean): Promise<void> => this.#until(what, deadline, done)
    if (!raft.mayReconfigure) throw raft.role === 'leader' ? busyError() : this.#notLeader()
    const current = raft.configuration
    const added = voters.filter(store => !current.voters.includes(store))
    const removed = current.voters.filter(store => !voters.includes(store))
    if (added.length === 0 && removed.length === 0 && current.learners.length === 0) return
    if (added.length > 0) {
      this.#reconfigure(raft, { voters: current.voters, next: undefined, learners: added })
      await wait(
        'new voters to catch up',
        () =>
          raft.mayReconfigure &&
          added.every(store => raft.matchOf(store) > 0 && raft.matchOf(store) + CAUGHT_UP_WITHIN >= raft.commit)
      )
    }
    this.#reconfigure(raft, { voters: current.voters, next: [...voters], learners: [] })
    await wait('the joint step to end', () => raft.mayReconfigure || !voters.includes(this.self))
  }

  transferLeadership(to: StoreId): void {
    if (this.#raft?.transferLeadership(to) === true) this.#pump()
  }

  async readBarrier(timeoutMs: number): Promise<void> {
    const raft = this.#running()
    const id = raft.readIndex()
    if (id === undefined) throw this.#notLeader()
    const read = createDeferred<number>()
    this.#reads.set(id, read)
    this.#pump()
    const deadline = this.#deps.clock.monotonicMs() + timeoutMs
    const index = await this.#within(read, timeoutMs, 'a read', () => this.#reads.delete(id))
    await this.#until('the log to be applied', deadline, () => raft.applied >= index)
  }

  on<K extends keyof GroupEvents>(type: K, listener: (detail: GroupEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  #reconfigure(raft: Raft, configuration: Configuration): void {
    if (!raft.mayReconfigure) throw raft.role === 'leader' ? busyError() : this.#notLeader()
    raft.propose({ kind: 'configuration', configuration })
    this.#pump()
  }

  #onMessage(body: Uint8Array): void {
    if (this.#raft === undefined || this.#stopped) return
    try {
      const { group, from, message } = decodeRaftMessage(body)
      if (group !== this.#group) return
      this.#raft.step(from, message)
    } catch (error) {
      this.#deps.logger.warn('a consensus message was refused', { error: messageOf(error) })
      return
    }
    this.#pump()
  }

  /** Once per turn of the event loop, all that has come up since goes through one batch. */
  #pump(): void {
    if (this.#pumping || this.#stopped) return
    this.#pumping = true
    this.#deps.clock.soon(() => {
      void this.#work().finally(() => {
        this.#pumping = false
        if (!this.#stopped) this.#schedule()
      })
    })
  }

  async #work(): Promise<void> {
    const raft = this.#raft!
    for (let ready = raft.takeReady(); ready !== undefined && !this.#stopped; ready = raft.takeReady()) {
      try {
        await this.#logStore.save(ready)
      } catch (error) {
        this.#deps.logger.error('the consensus log cannot be written: this node takes no part any more', {
          error: messageOf(error)
        })
        await this.stop()
        return
      }
      raft.persisted(ready)
      if (this.#stopped) return
      this.#deliver(ready)
    }
    this.#announceLeader()
    await this.#trim()
  }

  #deliver(ready: Ready): void {
    for (const { to, message } of ready.messages) {
      const peer = this.#deps.peerOf(to)
      if (peer !== undefined && to !== this.self) {
        this.#deps.transport.send(peer, 'control', MessageType.RAFT, encodeRaftMessage(this.#group, this.self, message))
      }
    }
    if (ready.snapshot !== undefined) this.#deps.machine.restore(ready.snapshot.index, ready.snapshot.data)
    for (const entry of ready.committed) this.#apply(entry)
    if (ready.committed.length > 0 || ready.snapshot !== undefined)
      this.#events.emit('applied', { index: this.appliedIndex })
    for (const { id, index } of ready.reads) this.#settleRead(id, read => read.resolve(index))
    for (const id of ready.lostReads) this.#settleRead(id, read => read.reject(this.#notLeader()))
    this.#checkWaiters()
  }

  #apply({ index, term, content }: Entry): void {
    this.#deps.machine.apply(index, content.kind === 'command' ? content.command : undefined)
    const proposal = this.#proposals.get(index)
    if (proposal === undefined) return
    this.#proposals.delete(index)
    if (proposal.term === term) proposal.resolve(index)
    // Another leader's entry stands at this index: ours is gone for good.
    else proposal.reject(this.#notLeader())
  }

  #settleRead(id: number, settle: (read: Deferred<number>) => void): void {
    const read = this.#reads.get(id)
    this.#reads.delete(id)
    if (read !== undefined) settle(read)
  }

  async #trim(): Promise<void> {
    const raft = this.#raft!
    const { log } = raft
    if (this.#stopped || (raft.applied - log.base < KEEP_ENTRIES && log.bytes < KEEP_BYTES)) return
    // The state is that of the applied index, so that is where the log is cut.
    raft.compact(raft.applied, this.#deps.machine.snapshot())
    this.#deps.logger.debug('trimmed the consensus log', { index: raft.applied })
    await this.#logStore.compact(log.snapshot!)
  }

  #schedule(): void {
    const { clock } = this.#deps
    this.#timer?.cancel()
    this.#timer = clock.after(Math.max(0, this.#raft!.wakeAtMs - clock.monotonicMs()), () => {
      // A late timer: what has arrived meanwhile is handled first, and only then is the time looked at.
      clock.soon(() => {
        if (this.#stopped) return
        this.#raft!.tick(clock.monotonicMs())
        this.#pump()
        if (!this.#pumping) this.#schedule()
      })
    })
    if (this.#raft!.hasWork) this.#pump()
  }

  #announceLeader(): void {
    if (this.leader === this.#announced) return
    this.#announced = this.leader
    this.#events.emit('leader', { leader: this.leader, term: this.term })
  }

  #checkWaiters(): void {
    for (const wake of this.#waiters) wake()
  }

  async #within<T>(deferred: Deferred<T>, timeoutMs: number, what: string, forget: () => void): Promise<T> {
    const timer = this.#deps.clock.after(timeoutMs, () => {
      forget()
      deferred.reject(
        new KilovoltError('KV_TIMEOUT', `${what} was not agreed on within ${timeoutMs} ms; its outcome is unknown`)
      )
    })
    try {
      return await deferred.promise
    } finally {
      timer.cancel()
    }
  }

  /** Looks at a condition whenever something was applied, and every heartbeat. */
  async #until(what: string, deadlineMs: number, done: () => boolean): Promise<void> {
    const { clock } = this.#deps
    while (!done()) {
      if (this.#stopped) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
      if (clock.monotonicMs() >= deadlineMs) throw new KilovoltError('KV_TIMEOUT', `gave up waiting for ${what}`)
      const { promise, resolve } = createDeferred<void>()
      this.#waiters.add(resolve)
      const timer = clock.after(POLL_MS, resolve)
      await promise
      timer.cancel()
      this.#waiters.delete(resolve)
    }
  }

  #running(): Raft {
    if (this.#stopped) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    if (this.#raft === undefined) throw this.#notLeader()
    return this.#raft
  }

  #configuration(): Configuration {
    return this.#raft?.configuration ?? { voters: [], next: undefined, learners: [] }
  }

  #notLeader(): KilovoltError {
    const { leader } = this
    return new KilovoltError('KV_NOT_LEADER', `this node does not lead; ${leader ?? 'nobody known'} does`, {
      retryable: true,
      details: { leader }
    })
  }
}

function busyError(): KilovoltError {
  return new KilovoltError('KV_OVERLOADED', 'another change of voters is under way', { retryable: true })
}
