import { onAbort } from '../base/abort.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError } from '../base/errors.ts'
import { copyBytes } from '../base/bytes.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Store } from '../storage/store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { MEMBERS_MAX, NO_CONFIGURATION } from './configuration.ts'
import type { Group, GroupEvents, GroupMembers, StateMachine } from './group.ts'
import { LogStore } from './log-store.ts'
import type { RaftOptions } from './options.ts'
import { Proposals } from './proposals.ts'
import type { Raft } from './raft.ts'
import { RaftDriver } from './raft-driver.ts'
import { ReadBarriers } from './read-barriers.ts'
import type { Ready, SoftState } from './ready.ts'
import type { RaftRules } from './rules.ts'
import { nextVoterStep } from './voter-change.ts'
import { WaitingRoom } from './waiting.ts'
import { COMMAND_BYTES_MAX } from './wire.ts'

/** What a group is built on. */
export interface RaftGroupDeps {
  readonly transport: Pick<Transport, 'send' | 'handle'>
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly machine: StateMachine
  /** Where a member can be reached; `undefined` while nobody knows. */
  readonly peerOf: (store: StoreId) => PeerId | undefined
}

/** Options of a group. */
export interface RaftGroupOptions {
  /** Number of the group, 0 … 255. */
  readonly group: number
  readonly self: StoreId
  /** Calls that may wait at a time. Default 4096. */
  readonly waitingMax?: number
  /** Applied entries that stay in the log for followers that lag. Default 10,000. */
  readonly keepEntries?: number
  /** Bytes of them. Default 64 MiB. */
  readonly keepBytes?: number
  /** Figures of the machine. */
  readonly raft?: Omit<RaftOptions, 'self'>
  /** For tests that break a rule. */
  readonly rules?: RaftRules
}

/** A newcomer that lacks at most so many entries would not hold up a majority. */
const CAUGHT_UP_ENTRIES = 64
/** How often a change of voters looks at what it waits for, ms. */
const POLL_MS = 50

/** A {@link Group} over the transport and the store: {@link RaftDriver} runs the machine, this waits for its results. */
export class RaftGroup implements Group {
  readonly self: StoreId
  readonly #deps: RaftGroupDeps
  readonly #options: RaftGroupOptions
  readonly #events = new Emitter<GroupEvents>()
  readonly #room: WaitingRoom
  readonly #proposals: Proposals
  readonly #barriers: ReadBarriers
  readonly #stopping = new AbortController()
  #starting: Promise<void> | undefined
  #driver: RaftDriver | undefined
  #failure: KilovoltError | undefined
  #appliedIndex = 0
  #changing = false
  #told: GroupEvents['leader'] = { leader: undefined, term: 0 }

  /** Registers its handler, so it must be made before the transport starts. */
  constructor(deps: RaftGroupDeps, options: RaftGroupOptions) {
    this.self = options.self
    this.#deps = deps
    this.#options = options
    this.#room = new WaitingRoom(deps.clock, options.waitingMax ?? 4096)
    this.#proposals = new Proposals(this.#room)
    this.#barriers = new ReadBarriers(this.#room)
    deps.transport.handle(MessageType.RAFT, ({ from, body }) => this.#driver?.receive(from, body))
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
    return this.#appliedIndex
  }

  members(): GroupMembers {
    const { voters, learners } = this.#raft?.configuration ?? NO_CONFIGURATION
    return { voters, learners, changing: this.#changing || this.#raft?.isSettled === false }
  }

  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#end(stoppedError())
    await this.#driver?.stop()
    await this.#starting?.catch(() => {})
  }

  async propose(command: Uint8Array, timeoutMs: number): Promise<number> {
    const { raft, driver } = this.#running()
    if (command.length > COMMAND_BYTES_MAX) {
      const message = `a command of ${command.length} bytes is longer than ${COMMAND_BYTES_MAX}`
      throw new KilovoltError('KV_VALUE_TOO_LARGE', message)
    }
    if (this.#room.isFull) throw overloaded('too many calls wait for the group')
    const proposed = raft.propose(copyBytes(command), this.#deps.clock.monotonicMs())
    if (proposed.kind === 'refused') {
      if (proposed.reason === 'full') throw overloaded('too many commands wait to be agreed on')
      throw this.#notLeader()
    }
    driver.wake()
    return this.#proposals.wait(proposed.index, proposed.term, timeoutMs)
  }

  async changeVoters(voters: readonly StoreId[], timeoutMs: number): Promise<void> {
    const wanted = [...new Set(voters)]
    if (wanted.length === 0 || wanted.length > MEMBERS_MAX) {
      throw new RangeError(`a group has 1 to ${MEMBERS_MAX} voters, not ${wanted.length}`)
    }
    if (this.#changing) throw overloaded('another change of voters is under way')
    this.#changing = true
    try {
      await this.#moveTo(wanted, timeoutMs)
    } finally {
      this.#changing = false
    }
  }

  transferLeadership(to: StoreId): void {
    if (this.#raft?.transferLeadership(to, this.#deps.clock.monotonicMs()) === true) this.#driver?.wake()
  }

  async readBarrier(timeoutMs: number): Promise<void> {
    const { driver } = this.#running()
    if (this.#room.isFull) throw overloaded('too many calls wait for the group')
    driver.wake()
    return this.#barriers.wait(timeoutMs)
  }

  on<K extends keyof GroupEvents>(type: K, listener: (detail: GroupEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  get #raft(): Raft | undefined {
    return this.#failure === undefined ? this.#driver?.raft : undefined
  }

  async #start(): Promise<void> {
    const { transport, store, clock, random, logger, machine, peerOf } = this.#deps
    const { group, self, raft, rules, keepEntries = 10_000, keepBytes = 64 * 1024 * 1024 } = this.#options
    const driver = await RaftDriver.open(
      { transport, clock, random, logger, peerOf, logStore: new LogStore(store, group), rules },
      {
        restore: ({ index, data }) => {
          machine.restore(index, data)
          this.#proposals.restored(index)
          this.#applied(index)
        },
        deliver: ready => this.#deliver(ready),
        turn: (raft, nowMs) => {
          this.#barriers.ask(raft, nowMs)
          return this.#barriers.retryMs
        },
        snapshot: () => machine.snapshot(),
        failed: error => {
          this.#end(error)
          this.#events.emit('failed', { error })
        }
      },
      { ...raft, group, self, keepEntries, keepBytes }
    )
    if (this.#failure !== undefined) throw this.#failure
    this.#driver = driver
    await driver.start()
  }

  #deliver({ committed, reads, softState }: Ready): void {
    for (const entry of committed) {
      this.#deps.machine.apply(entry.index, entry.kind === 'command' ? entry.command : undefined)
      this.#appliedIndex = entry.index
      this.#proposals.applied(entry, () => this.#notLeader())
    }
    const last = committed.at(-1)
    for (const read of reads) this.#barriers.confirmed(read)
    if (last !== undefined) this.#applied(last.index)
    else this.#barriers.applied(this.#appliedIndex)
    if (softState !== undefined) this.#tellLeader(softState)
  }

  #tellLeader({ leader, term }: SoftState): void {
    const { leader: known, term: since } = this.#told
    this.#told = { leader, term }
    if (leader !== known || (leader !== undefined && term !== since)) this.#events.emit('leader', { leader, term })
  }

  #applied(index: number): void {
    this.#appliedIndex = index
    this.#events.emit('applied', { index })
    this.#barriers.applied(index)
  }

  async #moveTo(wanted: readonly StoreId[], timeoutMs: number): Promise<void> {
    const { clock } = this.#deps
    const deadlineMs = clock.monotonicMs() + timeoutMs
    for (;;) {
      const { raft, driver } = this.#running()
      const step = nextVoterStep(wanted, {
        configuration: raft.configuration,
        isSettled: raft.isSettled,
        hasCaughtUp: store => {
          const progress = raft.progressOf(store)
          return progress?.state === 'replicate' && progress.match + CAUGHT_UP_ENTRIES >= raft.log.committed
        }
      })
      if (step.kind === 'done') return
      if (raft.role !== 'leader') throw this.#notLeader()
      if (step.kind === 'change') {
        raft.changeConfiguration(step.voters, step.learners, clock.monotonicMs())
        driver.wake()
      }
      const leftMs = deadlineMs - clock.monotonicMs()
      if (leftMs <= 0) throw new KilovoltError('KV_TIMEOUT', `the voters were not changed within ${timeoutMs} ms`)
      await this.#news(Math.min(POLL_MS, leftMs))
    }
  }

  /** Resolves when something was applied, and after a time in any case. */
  async #news(timeoutMs: number): Promise<void> {
    const wake = new AbortController()
    const stop = (): void => wake.abort()
    const forget = this.#events.on('applied', stop)
    const forgetStop = onAbort(this.#stopping.signal, stop)
    await pause(this.#deps.clock, timeoutMs, wake.signal)
    forgetStop()
    forget()
  }

  #running(): { readonly driver: RaftDriver; readonly raft: Raft } {
    if (this.#failure !== undefined) throw this.#failure
    const driver = this.#driver
    if (driver === undefined) throw this.#notLeader()
    return { driver, raft: driver.raft }
  }

  /** Nothing happens here any more, and nobody waits for it. */
  #end(error: KilovoltError): void {
    this.#failure ??= error
    this.#proposals.clear()
    this.#barriers.clear()
    this.#room.failAll(this.#failure)
  }

  #notLeader(): KilovoltError {
    const leader = this.#raft?.transferee ?? this.leader
    const who = leader === this.self || leader === undefined ? undefined : leader
    const message = `this node does not lead the group${who === undefined ? ', and knows nobody who does' : ''}`
    return new KilovoltError('KV_NOT_LEADER', message, { retryable: true, details: { leader: who } })
  }
}

function overloaded(why: string): KilovoltError {
  return new KilovoltError('KV_OVERLOADED', why, { retryable: true })
}

function stoppedError(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'the group was stopped')
}
