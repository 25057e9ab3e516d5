import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { HLC_COUNTERS_PER_MS, hlcFromMs, hlcToMs } from '../../../src/model/hlc.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import type { Stamp } from '../../../src/model/stamp.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { openIdentity } from '../../../src/storage/identity.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { CeilingStampSource } from '../../../src/storage/stamp-source.ts'
import { GatedStore, settled } from '../../support/gated-store.ts'

const ACTOR = '00000000000000aa' as Actor
const NOW = 1_767_225_600_000

class Wall {
  nowMs = NOW
  wallMs(): number {
    return this.nowMs
  }
}

async function newStore(permanent = true): Promise<GatedStore> {
  const store = new GatedStore(await LevelStore.open(new MemoryLevel()), permanent)
  await openIdentity(store, { random: new SeededRandom(1), createPeerKey: async () => Uint8Array.of(1) })
  store.batches.length = 0
  return store
}

/** The ceiling that a start would find now. */
async function ceilingOf(store: GatedStore): Promise<number> {
  const deps = { random: new SeededRandom(2), createPeerKey: () => Promise.reject(new Error('not new')) }
  return (await openIdentity(store, deps)).ceiling
}

function isNow(stamp: Stamp | Promise<Stamp>): Stamp {
  assert.ok(!(stamp instanceof Promise), 'the stamp had to be waited for')
  return stamp
}

describe('the source of stamps', () => {
  it('writes the ceiling down, synced, before the first stamp and waits for it', async () => {
    const store = await newStore()
    const wall = new Wall()
    const stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
    store.held.add('batch')
    const first = stamps.next()
    assert.ok(first instanceof Promise)
    let issued: Stamp | undefined
    void first.then(stamp => (issued = stamp))
    await settled()
    assert.equal(issued, undefined)
    store.release()
    const stamp = await first
    assert.equal(stamp.actor, ACTOR)
    assert.equal(hlcToMs(stamp.hlc), NOW)
    assert.deepEqual(
      store.batches.map(({ sync }) => sync),
      [true]
    )
    store.held.clear()
    assert.equal(await ceilingOf(store), hlcFromMs(NOW + 5000))
  })

  it('issues at once below the ceiling and renews it half way, in the background', async () => {
    const store = await newStore()
    const wall = new Wall()
    const stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
    let last = (await stamps.next()).hlc
    for (let ms = 0; ms < 20_000; ms += 10) {
      wall.nowMs += 10
      const { hlc } = isNow(stamps.next())
      assert.ok(hlc > last)
      last = hlc
      await settled()
    }
    assert.ok(store.batches.length >= 5 && store.batches.length <= 9, `${store.batches.length} ceilings in 20 s`)
  })

  it('starts above everything issued before, even with a wall clock that is far behind', async () => {
    const store = await newStore()
    const wall = new Wall()
    const before = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
    let last = 0
    for (let i = 0; i < 100; i++) {
      wall.nowMs += 97
      last = (await before.next()).hlc
    }
    wall.nowMs -= 3_600_000
    const after = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: await ceilingOf(store) })
    assert.ok((await after.next()).hlc > last)
  })

  it('does not run away from the wall clock when it crashes over and over', async () => {
    const store = await newStore()
    const wall = new Wall()
    for (let i = 0; i < 10; i++) {
      const stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: await ceilingOf(store) })
      await stamps.next()
      wall.nowMs += 100
    }
    const ahead = hlcToMs(await ceilingOf(store)) - wall.nowMs
    assert.ok(ahead < 8000, `${ahead} ms ahead after ten crashes within a second`)
  })

  it('stamps above what it observed, also when that lies above the ceiling', async () => {
    const store = await newStore()
    const stamps = new CeilingStampSource({ store, clock: new Wall() }, { actor: ACTOR, ceiling: 0 })
    await stamps.next()
    const near = hlcFromMs(NOW + 1000)
    stamps.observe(near)
    assert.equal(isNow(stamps.next()).hlc, near + 1)
    const far = hlcFromMs(NOW + 60_000)
    stamps.observe(far)
    const waited = stamps.next()
    assert.ok(waited instanceof Promise)
    stamps.observe(far + 10)
    const { hlc } = await waited
    assert.ok(hlc > far + 10)
    assert.ok((await ceilingOf(store)) >= hlc)
    stamps.observe(5)
    assert.equal(stamps.last, hlc)
  })

  it('D2: takes no note of what is further ahead than a clock may be, and can stamp after it all the same', async () => {
    const wall = new Wall()
    const limits = { actor: ACTOR, ceiling: 0, maxAheadMs: 10_000 }
    const stamps = new CeilingStampSource({ store: await newStore(false), clock: wall }, limits)
    const far = hlcFromMs(NOW + 10_000) + 1
    stamps.observe(far)
    assert.equal(hlcToMs(isNow(stamps.next()).hlc), NOW)
    assert.equal(isNow(stamps.next(far)).hlc, far + 1)
    assert.equal(hlcToMs(isNow(stamps.next()).hlc), NOW, 'that was for one stamp only')
    stamps.observe(far - 1)
    assert.equal(isNow(stamps.next()).hlc, far)
    wall.nowMs += 1
    assert.equal(isNow(stamps.next(far + 5)).hlc, far + 6, 'what is within the bound is taken note of')
    assert.equal(isNow(stamps.next()).hlc, far + 7)
  })

  it('D3: never issues a stamp twice that follows one from too far ahead, in this life or in another', async () => {
    const store = await newStore()
    const far = hlcFromMs(NOW + 60_000)
    const issued = new Set<string>()
    for (let life = 0; life < 3; life++) {
      const limits = { actor: ACTOR, ceiling: await ceilingOf(store), maxAheadMs: 10_000 }
      const stamps = new CeilingStampSource({ store, clock: new Wall() }, limits)
      for (let i = 0; i < 3; i++) {
        const { hlc, actor } = await stamps.next(far)
        assert.equal(hlc, far + 1, 'it is the next one')
        assert.match(actor, /^[0-9a-f]{16}$/u)
        issued.add(actor)
      }
      await stamps.close()
    }
    assert.equal(issued.size, 9)
  })

  it('D2: also when the ceiling has to be raised first', async () => {
    const limits = { actor: ACTOR, ceiling: 0, maxAheadMs: 10_000 }
    const stamps = new CeilingStampSource({ store: await newStore(), clock: new Wall() }, limits)
    const far = hlcFromMs(NOW + 60_000)
    assert.equal((await stamps.next(far)).hlc, far + 1)
    assert.equal(hlcToMs(isNow(stamps.next()).hlc), NOW)
  })

  it('rejects with KV_STORAGE when the ceiling cannot be written, and tries again with the next stamp', async () => {
    const store = await newStore()
    const stamps = new CeilingStampSource({ store, clock: new Wall() }, { actor: ACTOR, ceiling: 0 })
    store.held.add('batch')
    const waiting = [stamps.next(), stamps.next()].map(async stamp => stamp)
    const rejected = Promise.all(waiting.map(stamp => assert.rejects(stamp, { code: 'KV_STORAGE' })))
    assert.equal(store.batches.length, 1)
    store.fail()
    await rejected
    store.held.clear()
    const { hlc } = await stamps.next()
    assert.ok((await ceilingOf(store)) >= hlc)
  })

  it('goes on below the old ceiling while the renewal fails', async () => {
    const store = await newStore()
    const wall = new Wall()
    const stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
    await stamps.next()
    store.held.add('batch')
    for (wall.nowMs = NOW + 3000; wall.nowMs < NOW + 4900; wall.nowMs += 100) {
      isNow(stamps.next())
      store.fail()
      await settled()
    }
    wall.nowMs = NOW + 5001
    const late = stamps.next()
    store.fail()
    await assert.rejects(async () => late, { code: 'KV_STORAGE' })
  })

  it('never lowers the written ceiling, though the wall clock is set back while it is renewed', async () => {
    const store = await newStore()
    const wall = new Wall()
    const stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
    await stamps.next()
    stamps.observe(hlcFromMs(NOW + 2500))
    wall.nowMs -= 1
    store.held.add('batch')
    isNow(stamps.next())
    assert.deepEqual(store.waiting, ['batch'])
    wall.nowMs += 5000
    isNow(stamps.next())
    const last = isNow(stamps.next())
    store.release()
    store.held.clear()
    await settled()
    assert.ok((await ceilingOf(store)) >= last.hlc)
  })

  it('writes nothing for a store in memory', async () => {
    const store = await newStore(false)
    const stamps = new CeilingStampSource({ store, clock: new Wall() }, { actor: ACTOR, ceiling: 0 })
    stamps.observe(hlcFromMs(NOW + 1_000_000))
    for (let i = 0; i < 100; i++) isNow(stamps.next())
    assert.equal(store.batches.length, 0)
  })

  it('issues nothing once it is closed, not even what was waited for', async () => {
    const store = await newStore()
    const stamps = new CeilingStampSource({ store, clock: new Wall() }, { actor: ACTOR, ceiling: 0 })
    store.held.add('batch')
    const waiting = assert.rejects(async () => stamps.next(), { code: 'KV_NODE_STOPPED' })
    const closed = stamps.close()
    store.release()
    await closed
    await waiting
    await assert.rejects(async () => stamps.next(), { code: 'KV_NODE_STOPPED' })
    await stamps.close()
  })

  it('never issues a stamp twice or above the written ceiling, whatever clocks, peers, failures and crashes do', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constant({ kind: 'next' as const, ms: 0 }) },
      fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(4000) }),
      fc.record({ kind: fc.constant('jump' as const), ms: fc.integer({ min: -10_000, max: 10_000 }) }),
      fc.record({ kind: fc.constant('observe' as const), ms: fc.integer({ min: -1000, max: 9000 }) }),
      fc.constant({ kind: 'release' as const, ms: 0 }),
      fc.constant({ kind: 'fail' as const, ms: 0 }),
      fc.constant({ kind: 'crash' as const, ms: 0 })
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async steps => {
        const store = await newStore()
        const wall = new Wall()
        let life = 0
        let highest = 0
        const wrong: Stamp[] = []
        let stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling: 0 })
        store.held.add('batch')
        const issue = async (): Promise<void> => {
          const mine = life
          const floor = stamps.last
          const stamp = await Promise.resolve(stamps.next()).catch(() => undefined)
          // What a process that is gone would have been given reaches nobody.
          if (stamp === undefined || mine !== life) return
          if (stamp.hlc <= highest || stamp.hlc <= floor) wrong.push(stamp)
          highest = Math.max(highest, stamp.hlc)
        }
        for (const { kind, ms } of steps) {
          if (kind === 'next') void issue()
          else if (kind === 'pass') wall.nowMs += ms
          else if (kind === 'jump') wall.nowMs += ms
          else if (kind === 'observe') stamps.observe(hlcFromMs(wall.nowMs + ms) + (ms % HLC_COUNTERS_PER_MS))
          else if (kind === 'release') store.release()
          else if (kind === 'fail') store.fail()
          await settled()
          if (kind === 'crash') {
            life++
            while (store.fail()) await settled()
            store.held.clear()
            const ceiling = await ceilingOf(store)
            assert.ok(ceiling >= highest)
            stamps = new CeilingStampSource({ store, clock: wall }, { actor: ACTOR, ceiling })
            store.held.add('batch')
          }
        }
        assert.deepEqual(wrong, [])
      }),
      { numRuns: 200 }
    )
  })
})
