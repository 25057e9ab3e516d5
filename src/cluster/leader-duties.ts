import { messageOf } from '../base/errors.ts'
import type { Group } from '../consensus/group.ts'
import type { Membership } from '../membership/membership.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Transport } from '../transport/transport.ts'
import { Caretaker, type CaretakerOptions } from './caretaker.ts'
import { PROPOSE_TIMEOUT_MS, type RowRef } from './commands.ts'
import { chooseVoters } from './voters.ts'
import { encodeCommand } from './wire.ts'

/** What the leader's duties need. */
export interface LeaderDutiesDeps {
  readonly clock: Clock
  readonly membership: Membership
  readonly transport: Pick<Transport, 'isRefusing'>
  readonly rules: PlacementRules
  readonly logger: Logger
  readonly group: Group
  readonly topology: () => Topology | undefined
}

/** How often the leader looks after members and rows, ms. */
const CARE_EVERY_MS = 100
const VOTERS_TIMEOUT_MS = 20_000

/** Looks after members, rows and voters while this node leads the meta group: the shell of {@link Caretaker}. */
export class LeaderDuties {
  readonly #deps: LeaderDutiesDeps
  readonly #options: CaretakerOptions
  #caretaker: Caretaker | undefined
  #timer: Timer | undefined
  #caring = false
  #changingVoters = false
  #holding = false
  #stopped = false

  constructor(deps: LeaderDutiesDeps, options: CaretakerOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** To be called when the leader of the group has changed. */
  follow(): void {
    const { clock, group, topology } = this.#deps
    if (!group.isLeader) this.#caretaker = undefined
    else this.#caretaker ??= new Caretaker(this.#options, clock.monotonicMs(), topology() === undefined)
    this.#schedule(0)
  }

  /** A member reports rows whose copies are done there. */
  copied(storeId: StoreId, rows: readonly RowRef[]): void {
    for (const row of rows) this.#caretaker?.copied(storeId, row)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#caretaker === undefined || this.#stopped) return
    this.#timer = this.#deps.clock.after(delayMs, () => {
      // When rows have come to the end of a step, the next one should not be waited for.
      void this.#care().then(hasEnded => this.#schedule(hasEnded ? 0 : CARE_EVERY_MS))
    })
  }

  /** Looks once, and returns whether it has ended the change of any row; never rejects. */
  async #care(): Promise<boolean> {
    const { clock, membership, transport, rules, logger, group } = this.#deps
    const topology = this.#deps.topology()
    const caretaker = this.#caretaker
    if (this.#caring || caretaker === undefined || topology === undefined || !group.isLeader) return false
    this.#caring = true
    let hasEndedRows = false
    try {
      const nowMs = clock.monotonicMs()
      // Who is in another cluster of the name, because both believed the other to be gone, does nothing for this one.
      const isElsewhere = (store: StoreId): boolean => {
        const seen = membership.view.get(store)
        return seen?.status === 'alive' && seen.clusterId !== undefined && seen.clusterId !== topology.clusterId
      }
      const isDead = (store: StoreId): boolean => {
        const status = membership.view.get(store)?.status
        return isElsewhere(store) || status === 'dead' || status === 'left'
      }
      const hasEnded = (store: StoreId): boolean => {
        const peer = topology.members.get(store)?.peerId
        return peer !== undefined && transport.isRefusing(peer)
      }
      const members = group.members()
      // While voters change, the outgoing ones still count, and are not told here.
      const voters = members.changing ? [...topology.members.keys()] : [...members.voters, ...members.learners]
      for (const command of caretaker.look({ topology, nowMs, isDead, isElsewhere, hasEnded, voters, rules })) {
        await group.propose(encodeCommand(command), PROPOSE_TIMEOUT_MS)
        hasEndedRows ||= command.kind === 'changeEnd'
      }
      this.#tellHold(caretaker.isHolding(nowMs))
      void this.#keepVoters(caretaker, nowMs)
    } catch (error) {
      logger.debug('caretaking is tried again', { error: messageOf(error) })
    } finally {
      this.#caring = false
    }
    return hasEndedRows
  }

  #tellHold(holding: boolean): void {
    if (holding === this.#holding) return
    this.#holding = holding
    const { logger } = this.#deps
    if (holding) logger.error('cluster:mass-failure: too many members fell at once, so nothing is moved for a while')
    else logger.info('members are back or the wait is over: partitions may move again')
  }

  /** Runs beside the rest: a change of voters may take a while, and rows must not wait for it. */
  async #keepVoters(caretaker: Caretaker, nowMs: number): Promise<void> {
    const { group, logger } = this.#deps
    const topology = this.#deps.topology()
    const { voters, learners, changing } = group.members()
    if (this.#changingVoters || changing || topology === undefined) return
    const deadForMs = (store: StoreId): number => caretaker.deadForMs(store, nowMs)
    const wanted = chooseVoters({ topology, voters, leader: group.self, deadForMs })
    // A change that was broken off leaves learners behind that nobody wants: as long as they are there they are members.
    if (wanted === voters && learners.length === 0) return
    this.#changingVoters = true
    try {
      await group.changeVoters(wanted, VOTERS_TIMEOUT_MS)
      logger.info('voters changed', { voters: wanted })
    } catch (error) {
      logger.debug('a change of voters is tried again', { error: messageOf(error) })
    } finally {
      this.#changingVoters = false
    }
  }
}
