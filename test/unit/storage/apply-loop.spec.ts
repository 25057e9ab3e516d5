import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { equalBytes } from '../../../src/base/bytes.ts'
import { compareRecords, type RecordBytes } from '../../../src/model/record.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import type { ApplyLoopOptions } from '../../../src/storage/apply-options.ts'
import type { ChangeTap } from '../../../src/storage/arrival-log.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { NO_CACHE } from '../../../src/storage/record-store.ts'
import { apply, place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { GatedStore, settled, Turns } from '../../support/gated-store.ts'

async function newLoop(
  options?: ApplyLoopOptions,
  tap?: ChangeTap
): Promise<{ store: GatedStore; turns: Turns; records: ApplyLoop }> {
  const store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })))
  const turns = new Turns()
  return { store, turns, records: new ApplyLoop({ store, clock: turns, ...(tap && { tap }) }, options) }
}

/** The codes of the errors that a refused or failed write ends with, or its outcome. */
async function outcomeOf(promise: Promise<{ readonly outcome: string }>): Promise<string> {
  return promise.then(
    ({ outcome }) => outcome,
    (error: { readonly code: string }) => error.code
  )
}

describe('the apply loop', () => {
  it('writes all that was offered in one turn with one look-up and one batch, and acknowledges it in that turn', async () => {
    const { store, turns, records } = await newLoop()
    const writes = [1, 2, 3, 1].map(i => apply(records, place(1, `k${i}`), record(i, 'x')))
    assert.equal(store.batches.length, 0)
    await turns.turn()
    await Promise.all(writes)
    assert.deepEqual(store.lookups, [3])
    assert.deepEqual(
      store.batches.map(({ changes, sync }) => [changes.length, sync]),
      [[3, false]]
    )
    assert.equal(turns.waiting, 0)
  })

  it('writes nothing when nothing is newer', async () => {
    const { store, turns, records } = await newLoop()
    const first = apply(records, place(1, 'k'), record(5, 'x'))
    await turns.turn()
    await first
    const later = [apply(records, place(1, 'k'), record(5, 'x')), apply(records, place(1, 'k'), record(4, 'x'))]
    await turns.turn()
    assert.deepEqual(await Promise.all(later.map(outcomeOf)), ['same', 'stale'])
    assert.equal(store.batches.length, 1)
    const { cache, ...stats } = records.stats()
    assert.deepEqual(stats, { applied: 1, stale: 1, batches: 2, pending: 0, corrupt: 0, corruptLeft: 0 })
    assert.deepEqual(cache, NO_CACHE)
  })

  it('gathers what arrives while a batch is being written into the next one', async () => {
    const { store, turns, records } = await newLoop({ durability: 'fsync' })
    store.held.add('batch')
    const first = apply(records, place(1, 'a'), record(1, 'x'))
    await turns.turn()
    const more = ['b', 'c', 'd'].map(key => apply(records, place(1, key), record(1, 'x')))
    await turns.turn()
    assert.equal(store.batches.length, 1)
    assert.equal(records.stats().pending, 4)
    store.release()
    await first
    await turns.turn()
    store.release()
    await Promise.all(more)
    assert.deepEqual(
      store.batches.map(({ changes, sync }) => [changes.length, sync]),
      [
        [1, true],
        [3, true]
      ]
    )
  })

  it('does not acknowledge before the batch is written, nor what was found stale against a record in it', async () => {
    const { store, turns, records } = await newLoop()
    store.held.add('batch')
    const acknowledged: number[] = []
    for (const hlc of [2, 1, 2]) {
      records.apply(place(1, 'k'), record(hlc, 'x'), () => acknowledged.push(hlc))
    }
    await turns.turn()
    assert.deepEqual(acknowledged, [])
    store.release()
    await settled()
    assert.deepEqual(acknowledged, [2, 1, 2])
  })

  it('fails every mutation of a failed batch, keeps nothing of it, and goes on with the next', async () => {
    const { store, turns, records } = await newLoop()
    const old = apply(records, place(1, 'k'), record(1, 'old'))
    await turns.turn()
    await old
    store.held.add('batch')
    const lost = [
      apply(records, place(1, 'k'), record(2, 'lost')),
      apply(records, place(1, 'other'), record(2, 'lost'))
    ]
    const codes = Promise.all(lost.map(outcomeOf))
    await turns.turn()
    const next = apply(records, place(1, 'k'), record(2, 'kept'))
    const cause = new Error('no space left on device')
    store.fail(cause)
    assert.deepEqual(await codes, ['KV_STORAGE', 'KV_STORAGE'])
    await assert.rejects(lost[0]!, { cause, message: /no space left/u })
    assert.equal(valueOf(await records.get(place(1, 'k'))), 'old')
    assert.equal(await records.get(place(1, 'other')), undefined)
    await turns.turn()
    store.release()
    const result = await next
    assert.equal(result.outcome, 'applied')
    assert.equal(valueOf(result.current), 'old', 'a record of the failed batch was taken for stored')
    assert.equal(valueOf(await records.get(place(1, 'k'))), 'kept')
  })

  it('fails the mutations whose look-up failed, and goes on', async () => {
    const { store, turns, records } = await newLoop()
    store.held.add('getMany')
    const lost = outcomeOf(apply(records, place(1, 'k'), record(1, 'x')))
    await turns.turn()
    store.fail()
    assert.equal(await lost, 'KV_STORAGE')
    const kept = outcomeOf(apply(records, place(1, 'k'), record(1, 'x')))
    await turns.turn()
    store.release()
    assert.equal(await kept, 'applied')
  })

  it('survives a store that throws instead of rejecting', async () => {
    const { store, turns, records } = await newLoop()
    const thrower = (): never => {
      throw new Error('not even a promise')
    }
    for (const method of ['getMany', 'batch'] as const) {
      Object.defineProperty(store, method, { value: thrower, configurable: true })
      const write = outcomeOf(apply(records, place(1, 'k'), record(1, 'x')))
      await turns.turn()
      assert.equal(await write, 'KV_STORAGE')
      Reflect.deleteProperty(store, method)
    }
    const write = outcomeOf(apply(records, place(1, 'k'), record(1, 'x')))
    await turns.turn()
    assert.equal(await write, 'applied')
  })

  it('refuses what exceeds its bounds, at once, and takes it again when there is room', async () => {
    const { turns, records } = await newLoop({ pendingMax: 3 })
    const taken = [1, 2, 3].map(i => apply(records, place(1, `k${i}`), record(1, 'x')))
    let refused: unknown
    records.apply(place(1, 'k4'), record(1, 'x'), error => (refused = error))
    assert.equal((refused as { code: string }).code, 'KV_OVERLOADED')
    assert.equal((refused as { retryable: boolean }).retryable, true)
    await turns.turn()
    await Promise.all(taken)
    const again = apply(records, place(1, 'k4'), record(1, 'x'))
    await turns.turn()
    assert.equal((await again).outcome, 'applied')
  })

  it('bounds the bytes that wait, but always lets one mutation in', async () => {
    const { turns, records } = await newLoop({ pendingBytesMax: 1000 })
    const big = apply(records, place(1, 'big'), record(1, 'x'.repeat(5000)))
    assert.equal(await outcomeOf(apply(records, place(1, 'k'), record(1, 'x'))), 'KV_OVERLOADED')
    await turns.turn()
    await big
    const [small, another] = ['a', 'b'].map(key => apply(records, place(1, key), record(1, 'x'.repeat(400))))
    assert.equal(await outcomeOf(apply(records, place(1, 'c'), record(1, 'x'.repeat(400)))), 'KV_OVERLOADED')
    await turns.turn()
    await Promise.all([small, another])
  })

  it('bounds the bytes of what is to be minted with the others', async () => {
    const { turns, records } = await newLoop({ pendingBytesMax: 1000, batchBytesMax: 600 })
    const mint = (key: string, bytes: number): Promise<string> =>
      new Promise(resolve =>
        records.mint(
          place(1, key),
          bytes,
          () => record(1, 'x'.repeat(bytes)),
          (error, result) =>
            resolve(error === undefined ? result!.outcome : (error as unknown as { code: string }).code)
        )
      )
    const taken = [mint('a', 450), mint('b', 450)]
    assert.equal(await Promise.race([mint('c', 450), settled().then(() => 'taken')]), 'KV_OVERLOADED')
    await turns.turn()
    await turns.turn()
    assert.deepEqual(await Promise.all(taken), ['applied', 'applied'])
    assert.equal(records.stats().pending, 0)
    const again = mint('c', 1000)
    await turns.turn()
    assert.equal(await again, 'applied')
  })

  it('cuts batches by count and by bytes', async () => {
    const { store, turns, records } = await newLoop({ batchMax: 3, batchBytesMax: 1000 })
    for (let i = 0; i < 7; i++) void apply(records, place(1, `k${i}`), record(1, 'x'))
    for (let i = 0; i < 3; i++) void apply(records, place(2, `k${i}`), record(1, 'x'.repeat(900)))
    for (let i = 0; i < 10; i++) await turns.turn()
    assert.deepEqual(
      store.batches.map(({ changes }) => changes.length),
      // Seven small ones in threes; the last of them with the first large one, whose bytes are under the bound.
      [3, 3, 3, 1]
    )
  })

  it('holds back what is offered to a partition that is being dropped, and nothing else', async () => {
    const { store, turns, records } = await newLoop()
    const old = apply(records, place(1, 'old'), record(1, 'x'))
    store.held.add('clear')
    const dropped = records.dropPartition(1)
    const after = outcomeOf(apply(records, place(1, 'old'), record(1, 'x')))
    await turns.turn()
    await old
    assert.deepEqual(store.waiting, ['clear'])
    const other = apply(records, place(2, 'k'), record(1, 'x'))
    let flushed = false
    void records.flushed().then(() => (flushed = true))
    await turns.turn()
    await other
    assert.equal(flushed, false, 'a mutation that is held back was taken for written')
    store.release()
    await dropped
    await turns.turn()
    assert.equal(await after, 'applied')
    await settled()
    assert.equal(flushed, true)
  })

  it('reports a partition that could not be dropped, and takes writes to it again', async () => {
    const { store, turns, records } = await newLoop()
    store.held.add('clear')
    const dropped = assert.rejects(records.dropPartition(1), { code: 'KV_STORAGE' })
    await settled()
    const held = outcomeOf(apply(records, place(1, 'k'), record(1, 'x')))
    store.fail()
    await dropped
    await turns.turn()
    assert.equal(await held, 'applied')
    store.held.clear()
    await records.dropPartition(1)
    assert.equal(await records.get(place(1, 'k')), undefined)
  })

  it('closes when its last batch and its last drop have ended', async () => {
    const { store, turns, records } = await newLoop()
    store.held.add('batch').add('clear')
    const write = apply(records, place(1, 'k'), record(1, 'x'))
    const dropped = records.dropPartition(2)
    let closed = false
    void records.close().then(() => (closed = true))
    await turns.turn()
    assert.equal(closed, false)
    store.release()
    await write
    await settled()
    assert.equal(closed, false)
    store.release()
    await dropped
    await settled()
    assert.equal(closed, true)
    await records.close()
  })

  /** What the process hears of that nobody has caught. */
  async function unhandled(run: () => Promise<void>): Promise<string> {
    const seen: unknown[] = []
    const listeners = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.once('unhandledRejection', error => seen.push(error))
    try {
      await run()
      await new Promise(resolve => setImmediate(resolve))
    } finally {
      for (const listener of listeners) process.on('unhandledRejection', listener)
    }
    return String(seen)
  }

  it('goes on after a tap that throws, and acknowledges what is stored', async () => {
    const tap = {
      isOn: true,
      written: () => {
        throw new Error('a broken tap')
      }
    }
    const { turns, records } = await newLoop(undefined, tap)
    const heard = await unhandled(async () => {
      const first = apply(records, place(1, 'a'), record(1, 'x'))
      await turns.turn()
      await first
    })
    assert.match(heard, /a broken tap/u)
    tap.isOn = false
    const next = apply(records, place(1, 'b'), record(1, 'x'))
    await turns.turn()
    await next
    assert.equal(records.stats().pending, 0)
  })

  it('goes on after a callback that throws, and lets the process hear of it', async () => {
    const { turns, records } = await newLoop()
    const heard = await unhandled(async () => {
      records.apply(place(1, 'a'), record(1, 'x'), () => {
        throw new Error('a broken callback')
      })
      const next = apply(records, place(1, 'b'), record(1, 'x'))
      await turns.turn()
      await next
      const later = apply(records, place(1, 'c'), record(1, 'x'))
      await turns.turn()
      await later
    })
    assert.match(heard, /a broken callback/u)
    assert.equal(records.stats().pending, 0)
  })
})

describe('the apply loop under any interleaving', () => {
  const KEYS = ['a', 'b', 'c']
  const offer = fc.record({
    kind: fc.constant('offer' as const),
    partition: fc.integer({ min: 0, max: 1 }),
    key: fc.constantFrom(...KEYS),
    hlc: fc.integer({ min: 1, max: 6 }),
    actor: fc.constantFrom('00000000000000aa', '00000000000000bb'),
    value: fc.constantFrom('x', 'y', undefined)
  })
  const step = fc.oneof(
    { weight: 6, arbitrary: offer },
    { weight: 3, arbitrary: fc.constant({ kind: 'turn' as const }) },
    { weight: 3, arbitrary: fc.constant({ kind: 'release' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'fail' as const }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('drop' as const), partition: fc.integer({ min: 0, max: 1 }) })
    }
  )

  it('ends in the newest record that was not refused, and every acknowledgement says what the store held', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), fc.boolean(), async (steps, syncReads) => {
        const { store, turns, records } = await newLoop({ batchMax: 4 })
        store.held.add('batch').add('clear')
        if (!syncReads) store.held.add('getMany')
        // What a store that does one thing after the other would hold.
        const model = new Map<string, RecordBytes>()
        const wrong: string[] = []
        const open = new Set<number>()
        let offered = 0
        for (const action of steps) {
          if (action.kind === 'offer') {
            const name = `${action.partition}/${action.key}`
            const bytes = record(action.hlc, action.value, action.actor)
            const id = offered++
            open.add(id)
            records.apply(place(action.partition, action.key), bytes, (error, result) => {
              open.delete(id)
              if (error !== undefined) return
              const held = model.get(name)
              const order = held === undefined ? 1 : compareRecords(bytes, held)
              const outcome = order > 0 ? 'applied' : order < 0 ? 'stale' : 'same'
              if (result!.outcome !== outcome) wrong.push(`${name}: ${result!.outcome} instead of ${outcome}`)
              if ((result!.current === undefined) !== (held === undefined)) wrong.push(`${name}: wrong current`)
              if (held !== undefined && !equalBytes(result!.current!, held)) wrong.push(`${name}: wrong current`)
              if (order > 0) model.set(name, bytes)
            })
          } else if (action.kind === 'turn') await turns.turn()
          else if (action.kind === 'release') store.release()
          else if (action.kind === 'fail') store.fail()
          else {
            const id = offered++
            open.add(id)
            const forget = (): void => {
              open.delete(id)
              for (const key of KEYS) model.delete(`${action.partition}/${key}`)
            }
            records.dropPartition(action.partition).then(forget, () => open.delete(id))
          }
          await settled()
        }
        for (let i = 0; open.size > 0 && i < 2000; i++) {
          store.release()
          await turns.turn()
        }
        store.held.clear()
        assert.equal(open.size, 0, 'something was never answered')
        assert.deepEqual(wrong, [])
        assert.equal(records.stats().pending, 0)
        for (const partition of [0, 1]) {
          for (const key of KEYS) {
            const found = await records.get(place(partition, key))
            const expected = model.get(`${partition}/${key}`)
            assert.deepEqual(found && [...found], expected && [...expected])
          }
        }
      }),
      { numRuns: 300 }
    )
  })
})
