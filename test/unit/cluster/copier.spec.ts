import assert from 'node:assert/strict'
import { Copier } from '../../../src/cluster/copier.ts'
import type { CopyTask } from '../../../src/cluster/cluster.ts'
import type { RowRef } from '../../../src/cluster/commands.ts'
import { onAbort } from '../../../src/base/abort.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { createDeferred, type Deferred } from '../../../src/base/deferred.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { store, topology } from './fixtures.ts'

const byNumber = (a: number, b: number): number => a - b

interface Copy extends CopyTask {
  readonly signal: AbortSignal
  readonly done: Deferred<void>
}

/** A copier of store 2 whose copies end when the test says so. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock: SimClock = this.world.clock('n')
  readonly copies: Copy[] = []
  readonly drops: number[] = []
  readonly given: number[] = []
  /** What the store holds. */
  held: number[] = []
  /** Epochs whose storing was asked for. */
  readonly settled: { readonly epoch: number; readonly done: Deferred<void> }[] = []
  storesAtOnce = true
  ownersAway = false
  /** What each drop waits for. */
  dropped: Promise<void> | undefined
  /** Whether drops wait for their turn, in which they can be called off. */
  dropsWait = false
  calledOff = 0
  readonly reports: (readonly RowRef[])[] = []
  readonly copier: Copier = new Copier({
    self: store(2),
    clock: this.clock,
    logger: silentLogger,
    rules: SOUND_RULES,
    mover: {
      copy: (task, signal) => {
        const done = createDeferred<void>()
        this.copies.push({ ...task, signal, done })
        return done.promise
      },
      held: async () => this.held,
      giveBack: async partition => {
        if (this.ownersAway) throw new KilovoltError('KV_UNREACHABLE', 'nobody is there')
        this.given.push(partition)
      },
      drop: async (partition, signal) => {
        if (this.dropsWait) {
          await new Promise<void>(resolve => void onAbort(signal, resolve))
          this.calledOff++
          throw new Error('called off')
        }
        this.drops.push(partition)
        await this.dropped
      }
    },
    settle: epoch => {
      const done = createDeferred<void>()
      this.settled.push({ epoch, done })
      if (this.storesAtOnce) done.resolve()
      return done.promise
    },
    report: rows => void this.reports.push(rows)
  })

  get partitions(): number[] {
    return this.copies.map(({ partition }) => partition)
  }
}

/** The first rows grow by store 2; the others are those of their owners, store 1 alone unless others are named. */
function growing(count: number, rowEpoch = 7, owners: readonly number[] = [1]): Topology {
  const slots = owners.map(store)
  const row = (i: number): Row => ({
    slots,
    change: i < count ? { next: [...slots, store(2)], copies: [{ to: store(2), from: [store(1)] }] } : undefined,
    rowEpoch: i < count ? rowEpoch : 1
  })
  return topology([{ n: 1 }, { n: 2 }, { n: 3 }], { rows: Array.from({ length: 64 }, (_, i) => row(i)) })
}

describe('the copier', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => {
    bench.copier.stop()
    assert.equal(bench.clock.pending, 0, 'no timer is left')
  })

  it('fetches what rows assign to it, four at a time, with the epoch of the change', async () => {
    bench.copier.follow(growing(6))
    assert.deepEqual(bench.partitions, [0, 1, 2, 3])
    assert.deepEqual(bench.copies[0]!.from, [store(1)])
    assert.equal(bench.copies[0]!.epoch, 7)
    bench.copies[1]!.done.resolve()
    await bench.world.advance(1)
    assert.deepEqual(bench.partitions, [0, 1, 2, 3, 4])
  })

  it('reports what is done, and again until the change is over, as the report or the leader may be lost', async () => {
    bench.copier.follow(growing(1))
    assert.deepEqual(bench.reports, [])
    bench.copies[0]!.done.resolve()
    await bench.world.advance(10)
    const report = [{ partition: 0, rowEpoch: 7 }]
    assert.deepEqual(bench.reports, [report])
    await bench.world.advance(2500)
    assert.deepEqual(bench.reports, [report, report, report])
    bench.copier.follow(topology([{ n: 1 }, { n: 2 }], { slots: [1, 2] }))
    await bench.world.advance(5000)
    assert.equal(bench.reports.length, 3)
  })

  it('tries a copy that failed again', async () => {
    bench.copier.follow(growing(1))
    bench.copies[0]!.done.reject(new Error('the source is away'))
    await bench.world.advance(400)
    assert.equal(bench.copies.length, 1)
    await bench.world.advance(200)
    assert.equal(bench.copies.length, 2)
    bench.copies[1]!.done.resolve()
    await bench.world.advance(1)
    assert.equal(bench.reports.length, 1)
  })

  it('leaves no timer when it is stopped while a failed copy waits', async () => {
    bench.copier.follow(growing(1))
    bench.copies[0]!.done.reject(new Error('the source is away'))
    await bench.world.advance(1)
    assert.equal(bench.clock.pending, 1)
  })

  it('gives up a copy whose change was aborted, drops what came of it, and begins anew with the next', async () => {
    bench.copier.follow(growing(1, 7, [1, 3]))
    const [first] = bench.copies
    bench.copier.follow(growing(0, 7, [1, 3]))
    assert.ok(first!.signal.aborted)
    assert.deepEqual([bench.drops, bench.given], [[0], []])
    first!.done.reject(new Error('aborted'))
    await bench.world.advance(1000)
    bench.copier.follow(growing(1, 9, [1, 3]))
    assert.deepEqual(
      bench.copies.map(({ epoch }) => epoch),
      [7, 9]
    )
  })

  it('does not report under a later change what it copied for an earlier one', async () => {
    bench.copier.follow(growing(1))
    bench.copies[0]!.done.resolve()
    await bench.world.advance(1)
    bench.copier.follow(growing(1, 9))
    await bench.world.advance(3000)
    assert.deepEqual(bench.reports, [[{ partition: 0, rowEpoch: 7 }]])
    assert.equal(bench.copies.length, 2)
  })

  it('reports nothing before the topology of the change is stored: a later life must know that the copy is wanted', async () => {
    bench.storesAtOnce = false
    bench.copier.follow(growing(1))
    bench.copies[0]!.done.resolve()
    await bench.world.advance(5000)
    assert.deepEqual(bench.reports, [])
    const [storing] = bench.settled
    assert.equal(storing?.epoch, 7)
    storing.done.resolve()
    await bench.world.advance(10)
    assert.equal(bench.reports.length, 1)
  })

  it('copies again when the topology could not be stored', async () => {
    bench.storesAtOnce = false
    bench.copier.follow(growing(1))
    bench.copies[0]!.done.resolve()
    await bench.world.advance(10)
    bench.settled[0]!.done.reject(new Error('the disk is full'))
    await bench.world.advance(1000)
    assert.equal(bench.copies.length, 2)
    assert.deepEqual(bench.reports, [])
  })

  it('drops what an earlier life left of partitions that it has no part in, and nothing else', async () => {
    bench.held = [0, 3, 9, 70]
    bench.copier.follow(growing(2))
    await bench.world.advance(1)
    assert.deepEqual(bench.drops.toSorted(byNumber), [3, 9, 70])
    assert.deepEqual(bench.given, [3, 9], 'the owners may lack some of it; a partition that does not exist has none')
  })

  it('says what it has not cleared away yet, and tries again', async () => {
    bench.held = [3]
    bench.ownersAway = true
    assert.equal(bench.copier.strays, undefined, 'nothing is known yet')
    bench.copier.follow(growing(0))
    await bench.world.advance(10_000)
    assert.deepEqual([bench.drops, [...bench.copier.strays!], bench.copier.owed], [[], [3], 1])
    bench.ownersAway = false
    await bench.world.advance(2000)
    assert.deepEqual([bench.drops, [...bench.copier.strays!], bench.copier.owed], [[3], [], 0])
  })

  it('C5: gives the owners what it held, whoever they were copied from: it may have taken a write after that', async () => {
    const two = topology([{ n: 1 }, { n: 2 }, { n: 3 }], { slots: [1, 2] })
    const moving = (from: number): Row => ({
      slots: [store(1), store(2)],
      change: { next: [store(1), store(3)], copies: [{ to: store(3), from: [store(from)] }] },
      rowEpoch: 11
    })
    const moved: Row = { slots: [store(1), store(3)], change: undefined, rowEpoch: 12 }
    const rows = (fourth: Row, fifth: Row): Topology => ({
      ...two,
      rows: two.rows.map((row, i) => (i === 4 ? fourth : i === 5 ? fifth : row))
    })
    bench.copier.follow(two)
    bench.copier.follow(rows(moving(1), moving(2)))
    await bench.world.advance(1)
    bench.copier.follow(rows(moved, moved))
    assert.deepEqual([[...bench.copier.strays!], bench.copier.owed], [[4, 5], 2])
    await bench.world.advance(1)
    assert.deepEqual([bench.given, bench.copier.owed], [[4, 5], 0])
    assert.deepEqual(bench.drops.toSorted(byNumber), [4, 5])
  })

  it('C5: keeps what it took beside a single owner that died: nobody else has it', async () => {
    bench.copier.follow(growing(1))
    bench.ownersAway = true
    bench.copier.follow(growing(0))
    await bench.world.advance(5000)
    assert.deepEqual([bench.drops, bench.copier.owed], [[], 1])
    const rows = growing(0).rows.map(row => ({ ...row, slots: [store(3)], rowEpoch: 12 }))
    bench.ownersAway = false
    bench.copier.follow({ ...growing(0), rows })
    await bench.world.advance(2000)
    assert.deepEqual([bench.given, bench.drops, bench.copier.owed], [[0], [0], 0])
  })

  it('C5: gives it back once more when it owned it again, and lost it, while it was being cleared away', async () => {
    const all = [{ n: 1 }, { n: 2 }]
    const mine = topology(all, { slots: [1, 2], epoch: 1 })
    const theirs = (rowEpoch: number): Topology =>
      topology(all, { rows: mine.rows.map(() => ({ slots: [store(1)], change: undefined, rowEpoch })) })
    bench.copier.follow(mine)
    const dropping = createDeferred<void>()
    bench.dropped = dropping.promise
    bench.copier.follow(theirs(5))
    await bench.world.advance(1)
    const { length } = mine.rows
    assert.deepEqual([bench.given.length, bench.drops.length, bench.copier.owed], [length, length, 0])
    bench.copier.follow(mine)
    bench.copier.follow(theirs(9))
    assert.equal(bench.copier.owed, length)
    dropping.resolve()
    await bench.world.advance(1)
    assert.deepEqual([bench.given.length, bench.drops.length, bench.copier.owed], [2 * length, 2 * length, 0])
    assert.equal(bench.copier.strays!.size, 0)
  })

  it('copies what it owns again only when what it had is deleted: else it would find that it has everything', async () => {
    const dropping = createDeferred<void>()
    bench.dropped = dropping.promise
    const lost = growing(0, 7, [1, 3])
    bench.copier.follow({ ...lost, rows: lost.rows.map(row => ({ ...row, slots: [store(1), store(2)] })) })
    bench.copier.follow(lost)
    await bench.world.advance(1)
    assert.ok(bench.drops.includes(0))
    bench.copier.follow(growing(1, 9, [1, 3]))
    await bench.world.advance(1000)
    assert.deepEqual(bench.partitions, [])
    dropping.resolve()
    await bench.world.advance(1)
    assert.deepEqual(bench.partitions, [0])
  })

  it('calls off a deletion that still waits for its turn when it owns the partition again, and copies at once', async () => {
    bench.dropsWait = true
    bench.copier.follow(growing(1, 7, [1, 3]))
    bench.copies[0]!.done.reject(new Error('aborted'))
    bench.copier.follow(growing(0, 7, [1, 3]))
    await bench.world.advance(10_000)
    bench.copier.follow(growing(1, 9, [1, 3]))
    await bench.world.advance(1)
    assert.deepEqual([bench.drops, bench.copies.map(({ epoch }) => epoch)], [[], [7, 9]])
    await bench.world.advance(2000)
    assert.deepEqual([bench.drops, [...bench.copier.strays!]], [[], []])
  })

  it('deletes nothing any more that waits for its turn when it stops: another tenure may have copied it by then', async () => {
    bench.held = [3]
    bench.dropsWait = true
    bench.copier.follow(growing(0))
    await bench.world.advance(1)
    assert.equal(bench.calledOff, 0)
    bench.copier.stop()
    await bench.world.advance(5000)
    assert.deepEqual([bench.calledOff, bench.drops], [1, []])
  })

  it('deletes once more what it took as an owner to be while it was being deleted: that is written behind the deletion', async () => {
    const dropping = createDeferred<void>()
    bench.dropped = dropping.promise
    bench.copier.follow(growing(1, 7, [1, 3]))
    bench.copies[0]!.done.reject(new Error('aborted'))
    bench.copier.follow(growing(0, 7, [1, 3]))
    bench.copier.follow(growing(1, 9, [1, 3]))
    const rows = growing(0, 9, [1, 3]).rows.map(row => ({ ...row, rowEpoch: 10 }))
    bench.copier.follow({ ...growing(0, 9, [1, 3]), rows })
    await bench.world.advance(1)
    assert.deepEqual([bench.drops, [...bench.copier.strays!]], [[0], [0]])
    dropping.resolve()
    await bench.world.advance(1)
    assert.deepEqual([bench.drops, bench.given, [...bench.copier.strays!]], [[0, 0], [], []])
  })

  it('keeps what it was given back while it listed what it holds', async () => {
    bench.held = [0, 3]
    bench.copier.follow(growing(0))
    bench.copier.follow(growing(1))
    await bench.world.advance(1)
    assert.deepEqual(bench.drops, [3])
  })

  it('C4: drops a partition only when it has no part in its row any more', async () => {
    const two = topology([{ n: 1 }, { n: 2 }, { n: 3 }], { slots: [1, 2] })
    bench.copier.follow(two)
    const handing: Row = {
      slots: [store(1), store(2)],
      change: { next: [store(1), store(3)], copies: [{ to: store(3), from: [store(2)] }] },
      rowEpoch: 11
    }
    bench.copier.follow({ ...two, rows: two.rows.map((row, i) => (i === 5 ? handing : row)) })
    assert.deepEqual(bench.drops, [], 'while the row changes the leaver is still asked')
    const handed: Row = { slots: [store(1), store(3)], change: undefined, rowEpoch: 12 }
    bench.copier.follow({ ...two, rows: two.rows.map((row, i) => (i === 5 ? handed : row)) })
    await bench.world.advance(1)
    assert.deepEqual(bench.drops, [5])
  })
})
