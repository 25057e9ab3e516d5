import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { StateMachine } from '../../../src/consensus/group.ts'
import { bootstrapGroup } from '../../../src/consensus/log-store.ts'
import type { RaftMessage } from '../../../src/consensus/messages.ts'
import { RaftGroup, type RaftGroupOptions } from '../../../src/consensus/raft-group.ts'
import { decodeRaftMessage } from '../../../src/consensus/wire.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import type { Store } from '../../../src/storage/store.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { MessageHandler } from '../../../src/transport/transport.ts'
import { storeId } from '../../support/raft-network.ts'

/** A machine that remembers its commands. */
export class Notes implements StateMachine {
  lines: string[] = []
  index = 0
  restores = 0

  apply(index: number, command: Uint8Array | undefined): void {
    this.index = index
    if (command !== undefined) this.lines.push(fromUtf8(command))
    if (this.lines.at(-1) === 'poison') throw new Error('poisoned')
  }

  snapshot(): Uint8Array {
    return utf8(this.lines.join('\n'))
  }

  restore(index: number, snapshot: Uint8Array): void {
    this.index = index
    this.restores++
    const text = fromUtf8(snapshot)
    this.lines = text === '' ? [] : text.split('\n')
  }
}

/** One group's member on one machine. */
export class Member {
  readonly bench: Bench
  readonly id: StoreId
  readonly disk: SimDisk
  readonly options: Partial<RaftGroupOptions>
  /** Messages of this member that left, by kind. */
  readonly sent: RaftMessage[] = []
  clock!: SimClock
  store!: Store
  notes!: Notes
  group!: RaftGroup
  handler: MessageHandler | undefined

  constructor(bench: Bench, id: StoreId, options: Partial<RaftGroupOptions>) {
    this.bench = bench
    this.id = id
    this.options = options
    this.disk = new SimDisk(bench.world.random.fork(`disk ${id}`))
  }

  get peer(): PeerId {
    return `peer-${this.id}` as PeerId
  }

  /** A process begins on the machine. Its group is not started yet. */
  boot(wrap: (store: Store) => Store = store => store): void {
    const { world } = this.bench
    this.clock = world.clock(this.id)
    this.store = wrap(new SimStore({ disk: this.disk, clock: this.clock }))
    this.notes = new Notes()
    this.handler = undefined
    this.group = new RaftGroup(
      {
        transport: {
          send: (to, _class, _type, body) => this.bench.carry(this, to, body),
          handle: (_type, handler) => {
            this.handler = handler
          }
        },
        store: this.store,
        clock: this.clock,
        random: world.random.fork(`${this.id} at ${world.nowUs}`),
        logger: silentLogger,
        machine: this.notes,
        peerOf: store => this.bench.routeTo(store)
      },
      { group: 0, self: this.id, ...this.options }
    )
  }

  /** The process is gone without a word. */
  crash(machine = false): void {
    this.clock.kill()
    this.disk.crash({ machine })
  }
}

/** Groups on simulated machines, with a network that only carries their messages. */
export class Bench {
  readonly world: SimWorld
  readonly members = new Map<StoreId, Member>()
  /** Members that nobody is told the way to. */
  readonly unknown = new Set<StoreId>()
  readonly cut = new Set<StoreId>()
  filter: (message: RaftMessage) => boolean = () => true

  constructor(seed: string | number = 1) {
    this.world = new SimWorld({ seed })
  }

  routeTo(store: StoreId): PeerId | undefined {
    return this.unknown.has(store) ? undefined : this.members.get(store)?.peer
  }

  carry(from: Member, to: PeerId, body: Uint8Array): void {
    const { message } = decodeRaftMessage(body)
    from.sent.push(message)
    const target = [...this.members.values()].find(({ peer }) => peer === to)
    if (target === undefined || this.cut.has(from.id) || this.cut.has(target.id) || !this.filter(message)) return
    const bytes = new Uint8Array(body)
    const { handler } = target
    target.clock.arrive(1000, () => {
      if (target.handler !== handler) return
      handler?.({ from: from.peer, epoch: 0, body: bytes }, { reply() {}, refuse() {} })
    })
  }

  /** A member that takes part in nothing yet. */
  async join(number: number, options: Partial<RaftGroupOptions> = {}): Promise<Member> {
    const member = new Member(this, storeId(number), options)
    this.members.set(member.id, member)
    member.boot()
    await this.done(member.group.start())
    return member
  }

  /** A member that founds the group, and leads it. */
  async found(number: number, options: Partial<RaftGroupOptions> = {}): Promise<Member> {
    const member = new Member(this, storeId(number), options)
    this.members.set(member.id, member)
    member.boot()
    await this.done(bootstrapGroup(member.store, 0, member.id))
    await this.done(member.group.start())
    await this.until(() => member.group.isLeader)
    return member
  }

  /** A group of voters, led by the first. */
  async group(size: number, options: Partial<RaftGroupOptions> = {}): Promise<Member[]> {
    const first = await this.found(1, options)
    const members = [first]
    for (let number = 2; number <= size; number++) members.push(await this.join(number, options))
    await this.done(
      first.group.changeVoters(
        members.map(({ id }) => id),
        5000
      )
    )
    return members
  }

  get leader(): Member | undefined {
    return [...this.members.values()].find(({ group, clock }) => group.isLeader && !clock.isDead)
  }

  /** Runs the world until the promise settles; throws what it rejects with. */
  async done<T>(promise: Promise<T>, limitMs = 20_000): Promise<T> {
    let state: { value: T } | { error: unknown } | undefined
    promise.then(
      value => (state = { value }),
      (error: unknown) => (state = { error })
    )
    await this.world.run(() => state !== undefined, { limitMs })
    if (state === undefined) throw new KilovoltError('KV_TIMEOUT', `still waiting after ${limitMs} ms`)
    if ('error' in state) throw state.error
    return state.value
  }

  async until(condition: () => boolean, limitMs = 20_000): Promise<void> {
    if (!(await this.world.run(condition, { limitMs }))) {
      throw new KilovoltError('KV_TIMEOUT', `still waiting after ${limitMs} ms`)
    }
  }

  async run(durationMs: number): Promise<void> {
    await this.world.run(() => false, { limitMs: durationMs })
  }

  propose(member: Member, text: string, timeoutMs = 5000): Promise<number> {
    return this.done(member.group.propose(utf8(text), timeoutMs))
  }
}
