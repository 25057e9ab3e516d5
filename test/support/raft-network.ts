import assert from 'node:assert/strict'
import { Heap } from '../../src/base/heap.ts'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import type { Entry, RaftMessage, Snapshot } from '../../src/consensus/messages.ts'
import type { RaftOptions } from '../../src/consensus/options.ts'
import { EMPTY_LOG_STATE, type LogState } from '../../src/consensus/raft-log.ts'
import { Raft } from '../../src/consensus/raft.ts'
import type { Ready } from '../../src/consensus/ready.ts'
import { type RaftRules, SOUND_RAFT_RULES } from '../../src/consensus/rules.ts'
import { decodeRaftMessage, encodeRaftMessage } from '../../src/consensus/wire.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import type { Random } from '../../src/runtime/random.ts'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { RaftInvariants, describeEntry } from './raft-invariants.ts'

/** A store id for tests: `storeId(1)` is 0000…01. */
export function storeId(number: number): StoreId {
  return number.toString(16).padStart(32, '0') as StoreId
}

/** How the network and the disks behave. Chances in a thousand, times in ms. */
export interface Weather {
  lossPerMille: number
  duplicatePerMille: number
  delayMaxMs: number
  writeMaxMs: number
}

export const FAIR: Weather = { lossPerMille: 0, duplicatePerMille: 0, delayMaxMs: 0, writeMaxMs: 0 }

export interface RaftNetworkOptions {
  readonly seed?: string | number
  readonly rules?: RaftRules
  readonly raft?: Omit<RaftOptions, 'self'>
  readonly weather?: Partial<Weather>
}

interface Event {
  readonly atMs: number
  readonly sequence: number
  readonly run: () => void
}

/** What a node's disk holds: survives crashes. */
interface Disk {
  state: LogState
  /** Commit index that a crash of the machine may fall back to. */
  syncedCommit: number
}

/** A read under way in the tests. */
interface Reading {
  readonly floor: number
}

/** The register that the groups of the tests replicate: all commands so far, folded. */
interface Applied {
  index: number
  digest: string
}

/**
 * Raft machines on a network and disks that a seed decides: messages are encoded, lost, doubled, delayed and overtake
 * each other; writes take time, and a crash takes back what was not written. After every step the invariants are checked.
 */
export class RaftNetwork {
  readonly invariants = new RaftInvariants()
  readonly random: Random
  readonly weather: Weather
  readonly nodes = new Map<StoreId, RaftNode>()
  readonly rules: RaftRules
  readonly raftOptions: Omit<RaftOptions, 'self'>
  /** Messages for which this says false are lost. */
  filter: (message: RaftMessage) => boolean = () => true
  /** Sees every message that is sent. */
  tap: (message: RaftMessage) => void = () => {}
  nowMs = 0
  readonly #events = new Heap<Event>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence))
  readonly #cut = new Set<string>()
  #sequence = 0

  constructor({ seed = 1, rules = SOUND_RAFT_RULES, raft = {}, weather = {} }: RaftNetworkOptions = {}) {
    this.random = new SeededRandom(seed)
    this.rules = rules
    this.raftOptions = raft
    this.weather = { ...FAIR, ...weather }
  }

  /** A node that starts from the given state. */
  add(id: StoreId, state: LogState = EMPTY_LOG_STATE): RaftNode {
    const node = new RaftNode(this, id, { state, syncedCommit: state.hardState.commit })
    this.nodes.set(id, node)
    node.start()
    return node
  }

  /** Nodes that agree on being the voters. */
  addVoters(...ids: StoreId[]): RaftNode[] {
    return ids.map(id => this.add(id, foundedBy(ids)))
  }

  node(id: StoreId): RaftNode {
    return this.nodes.get(id)!
  }

  /** The leader of the latest term, if it runs. */
  get leader(): RaftNode | undefined {
    const leaders = [...this.nodes.values()].filter(({ raft }) => raft?.role === 'leader')
    return leaders.sort((a, b) => b.raft!.term - a.raft!.term)[0]
  }

  cut(a: StoreId, b: StoreId): void {
    this.#cut.add(`${a} ${b}`).add(`${b} ${a}`)
  }

  /** Cuts a node off from all others. */
  isolate(id: StoreId): void {
    for (const other of this.nodes.keys()) if (other !== id) this.cut(id, other)
  }

  /** Only nodes of the same side hear each other. */
  split(...sides: readonly StoreId[][]): void {
    this.heal()
    for (const side of sides) {
      for (const other of sides) if (side !== other) for (const a of side) for (const b of other) this.cut(a, b)
    }
  }

  heal(): void {
    this.#cut.clear()
  }

  at(delayMs: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + delayMs, sequence: this.#sequence++, run })
  }

  send(message: RaftMessage): void {
    this.tap(message)
    this.invariants.sent(message, this.node(message.from))
    if (this.#cut.has(`${message.from} ${message.to}`) || !this.filter(message)) return
    const bytes = encodeRaftMessage(0, message)
    const copies = this.random.chance(this.weather.duplicatePerMille, 1000) ? 2 : 1
    for (let i = 0; i < copies; i++) {
      if (this.random.chance(this.weather.lossPerMille, 1000)) continue
      this.at(1 + this.random.int(this.weather.delayMaxMs + 1), () => {
        if (!this.#cut.has(`${message.from} ${message.to}`)) this.nodes.get(message.to)?.receive(bytes)
      })
    }
  }

  /** Runs for so long. */
  run(durationMs: number): void {
    const endMs = this.nowMs + durationMs
    for (;;) {
      const event = this.#events.peek()
      if (event === undefined || event.atMs > endMs) break
      this.#events.pop()
      this.nowMs = Math.max(this.nowMs, event.atMs)
      event.run()
    }
    this.nowMs = endMs
  }

  /** Runs until the condition holds; fails when it does not within the time. */
  until(what: string, condition: () => boolean, limitMs = 30_000): void {
    const endMs = this.nowMs + limitMs
    while (!condition()) {
      const event = this.#events.peek()
      assert.ok(event !== undefined && event.atMs <= endMs, `within ${limitMs} ms: ${what}`)
      this.#events.pop()
      this.nowMs = Math.max(this.nowMs, event.atMs)
      event.run()
    }
  }

  /** Runs until there is a leader of the latest term that all running voters of it follow, and returns it. */
  settle(limitMs = 30_000): RaftNode {
    this.until(
      'a leader that everybody follows',
      () => {
        const leader = this.leader
        if (leader === undefined) return false
        const { voters } = leader.raft!.configuration
        return voters.every(id => {
          const raft = this.nodes.get(id)?.raft
          return raft === undefined || raft.leader === leader.id
        })
      },
      limitMs
    )
    return this.leader!
  }

  /** Makes a node leader, as if nobody had heard of one for long. It may have to learn of later terms first. */
  elect(id: StoreId): RaftNode {
    const node = this.node(id)
    for (let attempt = 0; attempt < 5 && !node.isLeader; attempt++) this.campaign(id, 20)
    assert.ok(node.isLeader, `${id.slice(-2)} is elected`)
    return node
  }

  /** Lets a node run out of patience, and then some time pass. */
  campaign(id: StoreId, durationMs = 20): void {
    for (const each of this.nodes.values()) each.skewMs += this.raftOptions.electionMinMs ?? 1000
    const node = this.node(id)
    node.skewMs += Math.max(0, node.raft!.deadlineMs - node.nowMs)
    node.tick()
    this.run(durationMs)
  }
}

/**
 * A log whose entries have these terms; the first names the voters, the others are commands named after their term and
 * index, so that equal places hold equal commands.
 */
export function stateOf(
  terms: readonly number[],
  voters: readonly StoreId[],
  hardState: Partial<LogState['hardState']> = {}
): LogState {
  const entries = terms.map((term, i): Entry => {
    const index = i + 1
    if (index > 1) return { index, term, kind: 'command', command: utf8(`${term}/${index}`) }
    return { index, term, kind: 'configuration', configuration: { voters, outgoing: [], learners: [] } }
  })
  const { term = terms.at(-1) ?? 0, vote, commit = 1 } = hardState
  return { ...EMPTY_LOG_STATE, hardState: { term, vote, commit }, entries }
}

/** Terms of the entries that a node has. */
export function termsOf({ raft }: RaftNode): number[] {
  const { log } = raft!
  return log.entriesFrom(log.firstIndex, Number.POSITIVE_INFINITY).map(({ term }) => term)
}

/** A log that begins with the given voters. */
export function foundedBy(voters: readonly StoreId[]): LogState {
  const configuration = { voters, outgoing: [], learners: [] }
  return {
    ...EMPTY_LOG_STATE,
    hardState: { term: 1, vote: undefined, commit: 1 },
    entries: [{ index: 1, term: 1, kind: 'configuration', configuration }]
  }
}

/** One machine with its disk and what it replicates. */
export class RaftNode {
  readonly net: RaftNetwork
  readonly id: StoreId
  readonly disk: Disk
  /** Undefined while it is down. */
  raft: Raft | undefined
  /** How far its clock is ahead. */
  skewMs = 0
  applied: Applied = { index: 0, digest: '' }
  /** Commands applied since the start or the last snapshot. */
  readonly commands: string[] = []
  readonly reads = new Map<number, Reading>()
  readsDone = 0
  #incarnation = 0
  #writing: Ready | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #nextRead = 1

  constructor(net: RaftNetwork, id: StoreId, disk: Disk) {
    this.net = net
    this.id = id
    this.disk = disk
  }

  get nowMs(): number {
    return this.net.nowMs + this.skewMs
  }

  get isLeader(): boolean {
    return this.raft?.role === 'leader'
  }

  start(): void {
    const { net, id, disk } = this
    const deps = { random: net.random.fork(`${id} ${this.#incarnation}`), rules: net.rules }
    this.applied = { index: 0, digest: '' }
    this.commands.length = 0
    if (disk.state.snapshot !== undefined) this.#restore(disk.state.snapshot)
    this.raft = new Raft(deps, { ...net.raftOptions, self: id }, disk.state, this.nowMs)
    this.pump()
  }

  /** Ends without a word. Of what is being written, all or nothing is on the disk; an unsynced commit index may be lost. */
  crash(): void {
    if (this.raft === undefined) return
    const { random } = this.net
    if (this.#writing !== undefined && random.chance(1, 2)) this.#write(this.#writing)
    if (random.chance(1, 2)) {
      const { state } = this.disk
      this.disk.state = { ...state, hardState: { ...state.hardState, commit: this.disk.syncedCommit } }
    }
    this.raft = undefined
    this.#writing = undefined
    this.#incarnation++
    this.#timerAtMs = Number.POSITIVE_INFINITY
    this.reads.clear()
  }

  receive(bytes: Uint8Array): void {
    if (this.raft === undefined) return
    this.raft.step(decodeRaftMessage(bytes).message, this.nowMs)
    this.pump()
  }

  /** A message that never was on the wire. */
  step(message: RaftMessage): void {
    this.raft!.step(message, this.nowMs)
    this.pump()
  }

  tick(): void {
    this.raft?.tick(this.nowMs)
    this.pump()
  }

  propose(command: string): boolean {
    const proposed = this.raft?.propose(utf8(command), this.nowMs).kind === 'appended'
    this.pump()
    return proposed
  }

  change(voters: readonly StoreId[], learners: readonly StoreId[] = []): boolean {
    const proposed = this.raft?.changeConfiguration(voters, learners, this.nowMs).kind === 'appended'
    this.pump()
    return proposed
  }

  transfer(to: StoreId): boolean {
    const begun = this.raft?.transferLeadership(to, this.nowMs) === true
    this.pump()
    return begun
  }

  /** Asks for a read, which must see everything that anybody knew to be committed by now. */
  read(): boolean {
    const id = this.#nextRead++
    this.reads.set(id, { floor: this.net.invariants.commit })
    const asked = this.raft?.read(id) === true
    if (!asked) this.reads.delete(id)
    this.pump()
    return asked
  }

  /** Trims the log behind a snapshot of what is applied. */
  trim(keepEntries: number): void {
    const { raft, disk, applied } = this
    if (raft === undefined || this.#writing !== undefined) return
    if (raft.log.applied !== applied.index || applied.index <= (raft.log.snapshot?.index ?? 0)) return
    const { index } = applied
    const place = { index, term: raft.log.termAt(index)!, configuration: raft.log.configurationAt(index) }
    const snapshot: Snapshot = { ...place, data: utf8(applied.digest) }
    const firstIndex = raft.log.firstWithin(index, keepEntries, Number.POSITIVE_INFINITY)
    const beforeTerm = raft.log.termAt(firstIndex - 1)!
    const entries = disk.state.entries.filter(entry => entry.index >= firstIndex)
    disk.state = { ...disk.state, snapshot, firstIndex, beforeTerm, entries }
    raft.trim(snapshot, firstIndex)
    this.pump()
  }

  /** Sends, writes and applies whatever there is. */
  pump(): void {
    const { raft, net } = this
    if (raft === undefined) return
    for (const message of raft.takeMessages(this.nowMs)) net.send(message)
    net.invariants.look(this)
    if (this.#writing === undefined) {
      const ready = raft.ready()
      if (ready !== undefined) this.#begin(ready)
    }
    this.#arm()
  }

  #begin(ready: Ready): void {
    const incarnation = this.#incarnation
    this.#writing = ready
    const { writeMaxMs } = this.net.weather
    const done = (): void => {
      if (incarnation === this.#incarnation) this.#complete(ready)
    }
    if (writeMaxMs === 0) done()
    else this.net.at(this.net.random.int(writeMaxMs + 1), done)
  }

  #complete(ready: Ready): void {
    this.#write(ready)
    this.#writing = undefined
    for (const message of ready.messages) this.net.send(message)
    if (ready.snapshot !== undefined) this.#restore(ready.snapshot)
    for (const entry of ready.committed) this.#apply(entry)
    for (const { id, index } of ready.reads) {
      const read = this.reads.get(id)
      if (read === undefined) continue
      this.reads.delete(id)
      this.readsDone++
      this.net.invariants.read(this.id, index, read.floor)
    }
    this.raft!.advance(this.nowMs)
    this.pump()
  }

  #write({ hardState, snapshot, entries, sync }: Ready): void {
    let { state } = this.disk
    if (snapshot !== undefined) {
      state = { ...state, snapshot, firstIndex: snapshot.index + 1, beforeTerm: snapshot.term, entries: [] }
    }
    if (entries.length > 0) {
      const kept = state.entries.filter(({ index }) => index < entries[0]!.index)
      state = { ...state, entries: [...kept, ...entries] }
    }
    if (hardState !== undefined) state = { ...state, hardState }
    this.disk.state = state
    if (sync) this.disk.syncedCommit = state.hardState.commit
  }

  #apply(entry: Entry): void {
    assert.equal(entry.index, this.applied.index + 1, 'entries are applied in order, each once')
    const what = describeEntry(entry)
    this.applied = { index: entry.index, digest: `${hash(this.applied.digest + what)}` }
    if (entry.kind === 'command') this.commands.push(fromUtf8(entry.command))
    this.net.invariants.applied(this.id, entry, this.applied.digest)
  }

  #restore({ index, data }: Snapshot): void {
    this.applied = { index, digest: fromUtf8(data) }
    this.net.invariants.restored(this.id, index, this.applied.digest)
  }

  #arm(): void {
    const { raft, net } = this
    if (raft === undefined) return
    const atMs = Math.max(net.nowMs, raft.deadlineMs - this.skewMs)
    if (atMs >= this.#timerAtMs || atMs === Number.POSITIVE_INFINITY) return
    this.#timerAtMs = atMs
    const incarnation = this.#incarnation
    net.at(atMs - net.nowMs, () => {
      if (incarnation !== this.#incarnation || this.#timerAtMs !== atMs) return
      this.#timerAtMs = Number.POSITIVE_INFINITY
      this.tick()
    })
  }
}

function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}
