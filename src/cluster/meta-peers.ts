import { stoppedError, throwIfStopped } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idFromBytes, idToBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import { MessageType } from '../transport/message-type.ts'
import type { IncomingMessage, Responder, Transport } from '../transport/transport.ts'
import { answer, asError } from './ask.ts'
import type { Command, NewMember, RowRef } from './commands.ts'
import { MetaLog } from './meta-log.ts'
import type { MetaState } from './meta-state.ts'
import { decodeCommand, encodeCommand, readMember, readStore, writeMember } from './wire.ts'

/** What talking to the other members needs. */
export interface MetaPeersDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly clock: Clock
  readonly log: MetaLog
  /** The leader of the meta group as known here. */
  readonly leader: () => StoreId | undefined
  /** Whether this node is in a cluster, and that has not ended. */
  readonly isMember: () => boolean
  /** Proposes as the leader; rejects with `KV_NOT_LEADER` elsewhere. */
  readonly propose: (command: Command) => Promise<number>
  readonly copied: (store: StoreId, rows: readonly RowRef[]) => void
  readonly peerOf: (store: StoreId) => PeerId | undefined
}

const Proposal = { COMMAND: 0, COPIED: 1 } as const
const ROWS_MAX = 4096
const ATTEMPT_MS = 2000
const RETRY_MS = 100
/** How often a node that hears of nothing newer asks all the same, ms. */
const ANTI_LAG_MS = 2000

/**
 * | message | who asks | who answers |
 * |---|---|---|
 * | `JOIN` | a provisional node | any member: has the leader admit it, then sends the state |
 * | `META_DELTA` | who lags behind an epoch it has heard of | any member that has it |
 * | `META_PROPOSE` | any member, with a command or a report of copies | the leader; others refuse and name it |
 */
export class MetaPeers {
  readonly #deps: MetaPeersDeps
  readonly #unsubscribe: (() => void)[] = []
  readonly #waiting = new Set<() => void>()
  #pulling: Promise<void> | undefined
  #timer: Timer | undefined
  readonly #abort = new AbortController()
  /** Whom somebody named as the leader last: what a member without a vote knows of it. */
  #lastKnownLeader: StoreId | undefined
  #turn = 0

  constructor(deps: MetaPeersDeps) {
    this.#deps = deps
  }

  listen(): void {
    const { transport, membership, log } = this.#deps
    answer(transport, MessageType.JOIN, (message, respond) => this.#onJoin(message, respond))
    answer(transport, MessageType.META_DELTA, (message, respond) => this.#onDelta(message, respond))
    answer(transport, MessageType.META_PROPOSE, (message, respond) => this.#onPropose(message, respond))
    this.#unsubscribe.push(
      log.on('topology', () => {
        for (const wake of this.#waiting) wake()
      }),
      membership.on('change', ({ epoch, clusterId, storeId }) => {
        const own = log.topology?.clusterId
        if (own !== undefined && clusterId === own && epoch > log.epoch && storeId !== membership.self.storeId)
          this.#pullSoon()
      })
    )
    this.#scheduleLagCheck()
  }

  stop(): void {
    this.#abort.abort()
    this.#timer?.cancel()
    for (const off of this.#unsubscribe) off()
    for (const wake of this.#waiting) wake()
  }

  /**
   * The state of a cluster other than these, from any of its members; of that one, if somebody of it answers. Clusters that
   * turn out to have ended as well are told.
   *
   * @throws KilovoltError `KV_UNREACHABLE`
   */
  async fetchState(
    except: ReadonlySet<ClusterId>,
    preferred: ClusterId | undefined,
    onEnded: (cluster: ClusterId) => void
  ): Promise<MetaState> {
    const { membership, transport } = this.#deps
    let last: unknown = new KilovoltError('KV_UNREACHABLE', 'no member of another cluster is linked', {
      retryable: true
    })
    const rank = (member: { clusterId: ClusterId | undefined }): number => (member.clusterId === preferred ? 0 : 1)
    const members = this.#rotate([...membership.view.values()]).toSorted((a, b) => rank(a) - rank(b))
    for (const { peerId, status, clusterId } of members) {
      const isOther = clusterId !== undefined && !except.has(clusterId)
      if (!isOther || status !== 'alive' || !transport.isLinked(peerId)) continue
      const body = new Writer(32).raw(idToBytes(clusterId)).bool(true).varint(0).finish()
      try {
        const state = MetaLog.readState(await this.#ask(peerId, MessageType.META_DELTA, body, ATTEMPT_MS))
        if (state.topology === undefined) continue
        if (state.kinship.dissolvedInto === undefined) return state
        onEnded(state.topology.clusterId)
      } catch (error) {
        last = error
      }
    }
    throw last
  }

  /** Asks some member to have this node admitted, and takes over the state; whose cluster has ended is passed over. */
  async join(member: NewMember, timeoutMs: number): Promise<void> {
    const { membership, log } = this.#deps
    const members = [...membership.view.values()].filter(
      ({ storeId, status, clusterId }) => storeId !== member.storeId && status === 'alive' && clusterId !== undefined
    )
    const body = writeMember(new Writer(256), member).finish()
    let last: unknown = new KilovoltError('KV_UNREACHABLE', 'no member is linked', { retryable: true })
    for (const { peerId } of this.#rotate(members)) {
      if (!this.#deps.transport.isLinked(peerId)) continue
      try {
        return log.enter(await this.#ask(peerId, MessageType.JOIN, body, timeoutMs), member.storeId)
      } catch (error) {
        last = error
      }
    }
    throw last
  }

  /** Has the leader propose a command to the present cluster; asks again, also another leader, until the time is up. */
  async propose(command: Command, timeoutMs: number): Promise<void> {
    const { clock, log } = this.#deps
    const cluster = log.topology?.clusterId
    const deadline = clock.monotonicMs() + timeoutMs
    for (;;) {
      if (log.topology?.clusterId !== cluster)
        throw new KilovoltError('KV_UNREACHABLE', 'this node has gone over to another cluster', { retryable: true })
      try {
        const epoch = await this.#proposeOnce(command)
        await this.catchUp(epoch, Math.max(1, deadline - clock.monotonicMs()))
        return
      } catch (error) {
        if (this.#abort.signal.aborted || clock.monotonicMs() >= deadline) throw error
        await pause(clock, RETRY_MS, this.#abort.signal)
      }
    }
  }

  /** Resolves when the log here has reached the epoch. */
  async catchUp(epoch: number, timeoutMs: number): Promise<void> {
    const { clock, log } = this.#deps
    const deadline = clock.monotonicMs() + timeoutMs
    while (log.epoch < epoch) {
      throwIfStopped(this.#abort.signal)
      if (clock.monotonicMs() >= deadline) {
        throw new KilovoltError(
          'KV_TIMEOUT',
          `epoch ${epoch} was not learnt within ${timeoutMs} ms (this node has ${log.epoch})`,
          { retryable: true }
        )
      }
      this.#pullSoon()
      const { promise, resolve } = createDeferred<void>()
      const timer = clock.after(RETRY_MS, resolve)
      this.#waiting.add(resolve)
      await promise
      this.#waiting.delete(resolve)
      timer.cancel()
    }
  }

  /** Asks some member for what is new. */
  pull(timeoutMs: number): Promise<void> {
    this.#pulling ??= this.#pullOnce(timeoutMs).finally(() => (this.#pulling = undefined))
    return this.#pulling
  }

  reportCopied(rows: readonly RowRef[]): void {
    const writer = this.#begin(64)
      .u8(Proposal.COPIED)
      .raw(idToBytes(this.#deps.membership.self.storeId))
      .varint(rows.length)
    for (const { partition, rowEpoch } of rows) writer.varint(partition).varint(rowEpoch)
    const leader = this.#deps.leader() ?? this.#lastKnownLeader
    const peer = leader === undefined ? undefined : this.#deps.peerOf(leader)
    const body = writer.finish()
    if (peer !== undefined) return this.#tell(peer, body)
    // Nobody known to lead: a voter is among the first members, and passes it on or refuses.
    for (const other of this.#leaderCandidates()) this.#tell(other, body)
  }

  #tell(peer: PeerId, body: Uint8Array): void {
    const request = { type: MessageType.META_PROPOSE, class: 'control', body, timeoutMs: ATTEMPT_MS } as const
    this.#deps.transport.request(peer, request, outcome => {
      if (outcome.kind === 'refused') this.#learnLeader(outcome.error)
      // Whoever is told in vain may lead no more: the next report goes to everybody.
      else if (outcome.kind !== 'reply') this.#missed(peer)
    })
  }

  #missed(peer: PeerId): void {
    const leader = this.#lastKnownLeader
    if (leader !== undefined && this.#deps.peerOf(leader) === peer) this.#lastKnownLeader = undefined
  }

  async #proposeOnce(command: Command): Promise<number> {
    try {
      return await this.#deps.propose(command)
    } catch (error) {
      if (!isKilovoltError(error, 'KV_NOT_LEADER')) throw error
    }
    const body = this.#begin(64).u8(Proposal.COMMAND).raw(encodeCommand(command)).finish()
    let last: unknown = new KilovoltError('KV_NOT_LEADER', 'nobody is known to lead', { retryable: true })
    for (const peer of this.#leaderCandidates()) {
      try {
        return new Reader(await this.#ask(peer, MessageType.META_PROPOSE, body, ATTEMPT_MS)).varint()
      } catch (error) {
        if (isKilovoltError(error, 'KV_NOT_LEADER')) this.#learnLeader(error)
        else this.#missed(peer)
        last = error
      }
    }
    throw last
  }

  /** The leader as known here or as somebody said last, then everybody linked. */
  #leaderCandidates(): PeerId[] {
    const { leader, peerOf, transport } = this.#deps
    const known = [leader(), this.#lastKnownLeader].flatMap(id => (id === undefined ? [] : [peerOf(id)]))
    const foreign = this.#foreignPeers()
    const linked = this.#rotate(transport.links()).filter(peer => !foreign.has(peer))
    return [...new Set([...known, ...linked])].filter(
      (peer): peer is PeerId => peer !== undefined && peer !== transport.self
    )
  }

  /** Peers of clusters of the same name that were founded apart, and those without any. */
  #foreignPeers(): ReadonlySet<PeerId> {
    const own = this.#deps.log.topology?.clusterId
    const foreign = [...this.#deps.membership.view.values()].filter(({ clusterId }) => clusterId !== own)
    return new Set(foreign.map(({ peerId }) => peerId))
  }

  /** A refusal of `KV_NOT_LEADER` ends with the leader's store id, if its sender knew one. */
  #learnLeader({ code, message }: KilovoltError): void {
    if (code === 'KV_NOT_LEADER')
      this.#lastKnownLeader = (/[0-9a-f]{32}/u.exec(message)?.[0] as StoreId | undefined) ?? undefined
  }

  #onJoin({ from, body }: IncomingMessage, respond: Responder): void {
    const { isMember, log } = this.#deps
    const refuse = (): void => respond.refuse(new KilovoltError('KV_NOT_JOINED', 'this node is no member itself'))
    if (!isMember()) return refuse()
    const member = readMember(new Reader(body))
    if (member.peerId !== from) return respond.refuse(impostor(`${from} asks to admit ${member.peerId}`))
    this.propose({ kind: 'addMember', member, former: [] }, ATTEMPT_MS).then(
      // The log may have ended meanwhile.
      () => (isMember() ? respond.reply(log.encodeDelta(-1)) : refuse()),
      (error: unknown) => respond.refuse(asError(error))
    )
  }

  #onDelta({ body }: IncomingMessage, respond: Responder): void {
    const reader = new Reader(body)
    const refusal = this.#strangerError(reader)
    if (refusal !== undefined) return respond.refuse(refusal)
    const isWhole = reader.bool()
    const epoch = reader.varint()
    respond.reply(this.#deps.log.encodeDelta(isWhole ? -1 : epoch))
  }

  /** Requests begin with the cluster they are meant for: a cluster of the same name that was founded apart has another log. */
  #begin(size: number): Writer {
    return new Writer(size).raw(idToBytes(this.#deps.log.topology!.clusterId))
  }

  #strangerError(reader: Reader): KilovoltError | undefined {
    const own = this.#deps.log.topology?.clusterId
    if (own === undefined) return new KilovoltError('KV_NOT_JOINED', 'this node is no member itself')
    const meant = idFromBytes<ClusterId>(reader.raw(ID_BYTES))
    if (meant === own) return undefined
    return new KilovoltError('KV_HANDSHAKE', `this node belongs to cluster ${own}, the request is for ${meant}`)
  }

  #onPropose({ from, body }: IncomingMessage, respond: Responder): void {
    const reader = new Reader(body)
    const refusal = this.#strangerError(reader)
    if (refusal !== undefined) return respond.refuse(refusal)
    if (reader.u8() === Proposal.COPIED) {
      const store = readStore(reader)
      const rows: RowRef[] = []
      for (let left = reader.count(ROWS_MAX, 2); left > 0; left--)
        rows.push({ partition: reader.varint(), rowEpoch: reader.varint() })
      const { leader, membership, peerOf } = this.#deps
      if (peerOf(store) !== from) return respond.refuse(impostor(`${from} reports copies of ${store}`))
      if (leader() !== membership.self.storeId) return respond.refuse(this.#redirect())
      this.#deps.copied(store, rows)
      return respond.reply(new Uint8Array(0))
    }
    const command = decodeCommand(new Uint8Array(reader.rest()))
    this.#deps.propose(command).then(
      index => respond.reply(new Writer(8).varint(index).finish()),
      (error: unknown) => respond.refuse(isKilovoltError(error, 'KV_NOT_LEADER') ? this.#redirect() : asError(error))
    )
  }

  /** Only the text of an error travels, so it names the leader. */
  #redirect(): KilovoltError {
    return new KilovoltError('KV_NOT_LEADER', `${this.#deps.leader() ?? 'nobody known'} leads`, { retryable: true })
  }

  async #pullOnce(timeoutMs: number): Promise<void> {
    const { log, membership, transport } = this.#deps
    // Nobody can be asked before it is known which cluster this node belongs to.
    if (log.topology === undefined) return
    const ahead = [...membership.view.values()]
      .filter(
        ({ epoch, clusterId, peerId }) =>
          epoch > log.epoch && clusterId === log.topology?.clusterId && transport.isLinked(peerId)
      )
      .map(({ peerId }) => peerId)
    const sources = ahead.length > 0 ? ahead : this.#leaderCandidates()
    const body = this.#begin(32).bool(false).varint(log.epoch).finish()
    const { clusterId } = log.topology
    for (const peer of this.#rotate(sources).slice(0, 3)) {
      try {
        const delta = await this.#ask(peer, MessageType.META_DELTA, body, timeoutMs)
        // This node may have gone over to another cluster meanwhile, whose log this is not.
        if (log.topology?.clusterId === clusterId) log.applyDelta(delta)
        return
      } catch {
        // The next one may do; whoever needs an epoch asks again until its own deadline.
      }
    }
  }

  #pullSoon(): void {
    if (this.#pulling === undefined && !this.#abort.signal.aborted) void this.pull(ATTEMPT_MS)
  }

  #scheduleLagCheck(): void {
    if (this.#abort.signal.aborted) return
    this.#timer = this.#deps.clock.after(ANTI_LAG_MS, () => {
      const { log, membership } = this.#deps
      const own = log.topology?.clusterId
      const lags = [...membership.view.values()].some(
        ({ clusterId, epoch }) => own !== undefined && clusterId === own && epoch > log.epoch
      )
      if (lags) this.#pullSoon()
      this.#scheduleLagCheck()
    })
  }

  #ask(peer: PeerId, type: MessageType, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    // Whoever goes from one peer to the next must not go on when the node has stopped meanwhile.
    if (this.#abort.signal.aborted) return Promise.reject(stoppedError())
    const { promise, resolve, reject } = createDeferred<Uint8Array>()
    this.#deps.transport.request(peer, { type, class: 'control', body, timeoutMs }, outcome => {
      if (outcome.kind === 'reply') resolve(new Uint8Array(outcome.body))
      else if (outcome.kind === 'refused') reject(outcome.error)
      else
        reject(
          new KilovoltError(
            outcome.kind === 'timeout' ? 'KV_TIMEOUT' : 'KV_UNREACHABLE',
            `${peer} did not answer (${outcome.kind})`,
            { retryable: true }
          )
        )
    })
    return promise
  }

  /** Begins at another item each time, so that one silent peer is not asked first over and over. */
  #rotate<T>(items: readonly T[]): T[] {
    if (items.length === 0) return []
    const at = this.#turn++ % items.length
    return [...items.slice(at), ...items.slice(0, at)]
  }
}

/** Everybody speaks for itself: a copy that is wrongly taken for done would end a change too early. */
function impostor(message: string): KilovoltError {
  return new KilovoltError('KV_PROTOCOL', message)
}
