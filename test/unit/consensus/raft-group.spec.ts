import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { type ErrorCode, KilovoltError, isKilovoltError } from '../../../src/base/errors.ts'
import { bootstrapGroup } from '../../../src/consensus/log-store.ts'
import { raftLogKey } from '../../../src/storage/key-layout.ts'
import type { Store } from '../../../src/storage/store.ts'
import { storeId } from '../../support/raft-network.ts'
import { Bench, type Member } from './group-bench.ts'

function coded(code: ErrorCode): (error: unknown) => boolean {
  return error => isKilovoltError(error, code)
}

function texts(members: readonly Member[]): string[][] {
  return members.map(({ notes }) => notes.lines)
}

describe('a consensus group', () => {
  it('of one is led as soon as it starts, and applies what is proposed', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    assert.ok(bench.world.nowMs < 50, `after ${bench.world.nowMs} ms`)
    const index = await bench.propose(one, 'hello')
    assert.equal(one.group.appliedIndex, index)
    assert.deepEqual(one.notes.lines, ['hello'])
    assert.deepEqual(one.group.members(), { voters: [one.id], learners: [], changing: false })
  })

  it('is not founded twice in one store', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    await assert.rejects(bench.done(bootstrapGroup(one.store, 0, one.id)), coded('KV_CONFIG'))
  })

  it('grows from one voter to five and shrinks to other ones, with every member having everything', async () => {
    const bench = new Bench()
    const members = await bench.group(5)
    for (let i = 0; i < 10; i++) await bench.propose(members[0]!, `${i}`)
    await bench.run(500)
    for (const lines of texts(members)) assert.equal(lines.length, 10)
    const wanted = [members[0]!.id, members[3]!.id, members[4]!.id]
    await bench.done(members[0]!.group.changeVoters(wanted, 5000))
    assert.deepEqual(members[0]!.group.members(), { voters: wanted, learners: [], changing: false })
    // The removed ones were told, and leave the others alone.
    await bench.run(10_000)
    assert.deepEqual(members[1]!.group.members().voters, wanted)
    assert.equal(members[0]!.group.isLeader, true)
    assert.equal(members[0]!.group.term, members[3]!.group.term)
  })

  it('takes newcomers in as learners first, and all changes in one joint step', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    const four = await bench.join(4)
    bench.cut.add(four.id)
    const change = one!.group.changeVoters([one!.id, two!.id, four.id], 3000)
    change.catch(() => {})
    await bench.run(1000)
    assert.deepEqual(one!.group.members(), {
      voters: [one!.id, two!.id, three!.id],
      learners: [four.id],
      changing: true
    })
    assert.ok(await bench.propose(one!, 'goes on'))
    bench.cut.clear()
    await bench.done(change)
    assert.deepEqual(one!.group.members().voters, [one!.id, two!.id, four.id])
    assert.deepEqual(four.notes.lines, ['goes on'])
  })

  it('gives up on a newcomer that never answers, and forgets it with the next change', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    const wanted = [one!.id, two!.id, three!.id, storeId(9)]
    await assert.rejects(bench.done(one!.group.changeVoters(wanted, 2000)), coded('KV_TIMEOUT'))
    assert.deepEqual(one!.group.members().learners, [storeId(9)])
    await bench.done(one!.group.changeVoters([one!.id, two!.id, three!.id], 2000))
    assert.deepEqual(one!.group.members().learners, [])
  })

  it('makes one change of voters at a time, and to none or to nobody not at all', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    const first = one.group.changeVoters([one.id, storeId(2)], 500)
    await assert.rejects(one.group.changeVoters([one.id], 500), coded('KV_OVERLOADED'))
    await assert.rejects(bench.done(first), coded('KV_TIMEOUT'))
    await assert.rejects(one.group.changeVoters([], 500), RangeError)
  })

  it('changes hands without a gap when its leader is removed', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    const four = await bench.join(4)
    await bench.done(one!.group.changeVoters([two!.id, three!.id, four.id], 5000))
    const beganMs = bench.world.nowMs
    await bench.until(() => bench.leader !== undefined && bench.leader !== one)
    assert.ok(bench.world.nowMs - beganMs < 200, `${bench.world.nowMs - beganMs} ms without a leader`)
    await bench.propose(bench.leader!, 'after')
    assert.equal(one!.group.isLeader, false)
    await assert.rejects(one!.group.propose(utf8('x'), 100), coded('KV_NOT_LEADER'))
  })

  it('hands leadership to the voter it is told to', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(3)
    const leaders: (string | undefined)[] = []
    two!.group.on('leader', ({ leader }) => leaders.push(leader))
    one!.group.transferLeadership(two!.id)
    await bench.until(() => two!.group.isLeader, 500)
    await bench.propose(two!, 'mine')
    assert.equal(leaders.at(-1), two!.id)
    assert.equal(one!.group.leader, two!.id)
  })

  it('says who leads to whoever proposes elsewhere', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(3)
    await assert.rejects(two!.group.propose(utf8('x'), 100), error => {
      return isKilovoltError(error, 'KV_NOT_LEADER') && error.details['leader'] === one!.id && error.retryable
    })
  })

  it('says that the outcome is unknown when no majority answers in time', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    bench.cut.add(two!.id).add(three!.id)
    await assert.rejects(bench.propose(one!, 'lost?', 800), coded('KV_TIMEOUT'))
    await bench.until(() => !one!.group.isLeader, 5000)
  })

  it('says that a command is not carried out when another stands in its place', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(3)
    bench.cut.add(one!.id)
    const lost = one!.group.propose(utf8('lost'), 30_000)
    lost.catch(() => {})
    await bench.until(() => bench.leader !== undefined && bench.leader !== one)
    const leader = bench.leader!
    await bench.propose(leader, 'kept')
    bench.cut.clear()
    await assert.rejects(bench.done(lost), coded('KV_NOT_LEADER'))
    await bench.run(500)
    assert.deepEqual(one!.notes.lines, ['kept'])
    assert.deepEqual(two!.notes.lines, ['kept'])
  })

  it('lets read on any member what was written before, one round for all readers of a turn', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    await bench.propose(one!, 'written')
    two!.sent.length = 0
    await bench.done(Promise.all(Array.from({ length: 100 }, () => two!.group.readBarrier(1000))))
    assert.deepEqual(two!.notes.lines, ['written'])
    assert.equal(two!.sent.filter(({ kind }) => kind === 'read').length, 1)
    await bench.done(Promise.all([one!.group.readBarrier(1000), three!.group.readBarrier(1000)]))
    assert.deepEqual(three!.notes.lines, ['written'])
  })

  it('lets a reader wait for the next leader', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(3)
    await bench.propose(one!, 'written')
    one!.crash()
    await bench.done(two!.group.readBarrier(10_000))
    assert.deepEqual(two!.notes.lines, ['written'])
  })

  it('lets nobody read from a leader that a majority does not confirm', async () => {
    const bench = new Bench()
    const [one] = await bench.group(3)
    bench.cut.add(one!.id)
    await assert.rejects(bench.done(one!.group.readBarrier(900)), coded('KV_TIMEOUT'))
  })

  it('asks a leader again when the question or the answer is lost', async () => {
    const bench = new Bench()
    const [, two] = await bench.group(3)
    let lost = 0
    bench.filter = ({ kind }) => !(kind === 'read' && lost++ < 2)
    await bench.done(two!.group.readBarrier(5000))
    assert.equal(lost, 3)
  })

  it('goes on where it was after its processes or machines crash', async () => {
    for (const machine of [false, true]) {
      const bench = new Bench(`crash ${machine}`)
      const members = await bench.group(3)
      for (let i = 0; i < 20; i++) await bench.propose(members[0]!, `${i}`)
      for (const member of members) member.crash(machine)
      for (const member of members) {
        member.boot()
        await bench.done(member.group.start())
      }
      await bench.until(() => bench.leader !== undefined)
      await bench.done(bench.leader!.group.readBarrier(5000))
      assert.equal(bench.leader!.notes.lines.length, 20)
    }
  })

  it('trims its log behind snapshots, from which newcomers and restarts begin', async () => {
    const bench = new Bench()
    const options = { keepEntries: 8 }
    const [one] = await bench.group(3, options)
    for (let i = 0; i < 100; i++) await bench.propose(one!, `${i}`)
    const four = await bench.join(4, options)
    await bench.done(one!.group.changeVoters([one!.id, storeId(2), storeId(3), four.id], 5000))
    await bench.propose(one!, 'last')
    await bench.run(500)
    assert.equal(four.notes.restores, 1)
    assert.equal(four.notes.lines.length, 101)
    for (const member of [one!, four]) {
      const { lines } = member.notes
      member.crash()
      member.boot()
      await bench.done(member.group.start())
      assert.equal(member.notes.restores, 1)
      await bench.until(() => member.notes.lines.length === 101)
      assert.deepEqual(member.notes.lines, lines)
    }
  })

  it('does not take the loss of a stalled process for the loss of its leader', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(3)
    const { term } = one!.group
    two!.clock.stall(2500)
    await bench.run(5000)
    assert.equal(two!.group.term, term)
    assert.equal(one!.group.isLeader, true)
    assert.deepEqual(
      two!.sent.filter(({ kind }) => kind === 'vote'),
      []
    )
  })

  it('reaches members by the way their messages came, while nobody knows a better one', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    bench.unknown.add(one.id)
    const two = await bench.join(2)
    await bench.done(one.group.changeVoters([one.id, two.id], 3000))
    await bench.propose(one, 'both')
    await bench.run(500)
    assert.deepEqual(two.notes.lines, ['both'])
  })

  it('drops malformed messages, those of other groups and those for another store', async () => {
    const bench = new Bench()
    const [one, two] = await bench.group(2)
    const respond = { reply() {}, refuse() {} }
    for (const body of [new Uint8Array(0), Uint8Array.of(0), new Uint8Array(40).fill(255), new Uint8Array(60)]) {
      one!.handler!({ from: two!.peer, epoch: 0, body }, respond)
    }
    assert.ok(await bench.propose(one!, 'still here'))
  })

  it('keeps leading while its own disk is slow', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    one!.disk.set({ writeMinMs: 4000 })
    const { term } = one!.group
    const slow = one!.group.propose(utf8('slow'), 10_000)
    slow.catch(() => {})
    await bench.run(3500)
    assert.equal(one!.group.isLeader, true)
    assert.equal(two!.group.term, term)
    // A majority has it, but this node's own state waits for its own disk.
    assert.deepEqual(texts([one!, two!, three!]), [[], ['slow'], ['slow']])
    await bench.done(slow)
  })
})

describe('a consensus group that ends', () => {
  /** A store whose writes begin to fail. */
  function failing(store: Store, isBroken: () => boolean): Store {
    return new Proxy(store, {
      get(target, name) {
        if (name === 'batch' && isBroken()) {
          return () => Promise.reject(new KilovoltError('KV_STORAGE', 'the disk is on fire'))
        }
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      }
    })
  }

  it('takes no part any more when its disk fails, and says so to all who wait', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    let isBroken = false
    one!.crash()
    one!.boot(store => failing(store, () => isBroken))
    await bench.done(one!.group.start())
    await bench.until(() => bench.leader !== undefined)
    bench.leader!.group.transferLeadership(one!.id)
    await bench.until(() => one!.group.isLeader)
    const failures: string[] = []
    one!.group.on('failed', ({ error }) => failures.push(error.code))
    await bench.run(1000)
    isBroken = true
    await assert.rejects(bench.propose(one!, 'burnt'), coded('KV_STORAGE'))
    assert.deepEqual(failures, ['KV_STORAGE'])
    assert.equal(one!.group.isLeader, false)
    await assert.rejects(one!.group.propose(utf8('x'), 100), coded('KV_STORAGE'))
    await assert.rejects(one!.group.readBarrier(100), coded('KV_STORAGE'))
    one!.sent.length = 0
    await bench.until(() => two!.group.isLeader || three!.group.isLeader)
    assert.deepEqual(one!.sent, [])
  })

  it('takes no part any more when its state machine fails', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    await assert.rejects(bench.propose(one, 'poison'), coded('KV_INTERNAL'))
    assert.equal(one.group.isLeader, false)
  })

  it('refuses to start on a log that cannot be trusted', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    await bench.propose(one, 'x')
    await bench.done(one.group.stop())
    await bench.done(one.store.batch([{ key: raftLogKey(0, 2), value: Uint8Array.of(1, 2, 3, 4, 5) }], { sync: true }))
    one.crash()
    one.boot()
    await assert.rejects(bench.done(one.group.start()), coded('KV_CORRUPT'))
    await assert.rejects(one.group.propose(utf8('x'), 100), coded('KV_NOT_LEADER'))
    await bench.done(one.group.stop())
  })

  it('leaves no timer and nobody waiting when it is stopped', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3)
    bench.cut.add(one!.id)
    const waiting = [
      one!.group.propose(utf8('x'), 60_000),
      one!.group.readBarrier(60_000),
      one!.group.changeVoters([one!.id, two!.id], 60_000)
    ]
    await bench.run(50)
    const outcomes = Promise.allSettled(waiting)
    for (const { group } of [one!, two!, three!]) await bench.done(group.stop())
    for (const outcome of await bench.done(outcomes)) {
      assert.ok(outcome.status === 'rejected' && isKilovoltError(outcome.reason, 'KV_NODE_STOPPED'), outcome.status)
    }
    await bench.run(100)
    for (const { clock } of [one!, two!, three!]) assert.equal(clock.pending, 0)
    await assert.rejects(one!.group.propose(utf8('x'), 100), coded('KV_NODE_STOPPED'))
    await bench.done(one!.group.stop())
  })

  it('can be stopped while it starts', async () => {
    const bench = new Bench()
    const one = await bench.found(1)
    await bench.done(one.group.stop())
    one.crash()
    one.boot()
    const starting = one.group.start()
    starting.catch(() => {})
    await bench.done(one.group.stop())
    await assert.rejects(bench.done(starting), coded('KV_NODE_STOPPED'))
    await bench.run(100)
    assert.equal(one.clock.pending, 0)
  })

  it('bounds how many calls wait', async () => {
    const bench = new Bench()
    const [one, two, three] = await bench.group(3, { waitingMax: 10 })
    bench.cut.add(two!.id).add(three!.id)
    const calls = Array.from({ length: 20 }, (_, i) => one!.group.propose(utf8(`${i}`), 500))
    const outcomes = await bench.done(Promise.allSettled(calls))
    const codes = outcomes.map(outcome => (outcome.status === 'rejected' ? (outcome.reason as KilovoltError).code : ''))
    assert.equal(codes.filter(code => code === 'KV_OVERLOADED').length, 10)
    assert.equal(codes.filter(code => code === 'KV_TIMEOUT').length, 10)
    await assert.rejects(one!.group.propose(new Uint8Array(9 * 1024 * 1024), 100), coded('KV_VALUE_TOO_LARGE'))
  })
})
