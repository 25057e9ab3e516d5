import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { MemoryStore } from '../../../src/storage/memory-store.ts'
import type { Store, StoreEntry } from '../../../src/storage/store.ts'

const key = fc.uint8Array({ minLength: 0, maxLength: 2 }).map(bytes => bytes.map(byte => byte % 8))
const value = fc.uint8Array({ maxLength: 3 })
const changes = fc.array(fc.record({ key, value: fc.option(value, { nil: undefined }) }), { maxLength: 60 })
const range = fc.record({ gte: key, lt: fc.option(key, { nil: undefined }) })

type Step =
  | { readonly kind: 'batch'; readonly changes: readonly { key: Uint8Array; value: Uint8Array | undefined }[] }
  | { readonly kind: 'clear'; readonly range: { gte: Uint8Array; lt: Uint8Array | undefined } }
  | {
      readonly kind: 'page'
      readonly range: { gte: Uint8Array; lt: Uint8Array | undefined }
      limit: number
      back: boolean
    }
  | { readonly kind: 'get'; readonly keys: readonly Uint8Array[] }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('batch' as const), changes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), range }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('page' as const), range, limit: fc.nat(20), back: fc.boolean() })
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('get' as const), keys: fc.array(key, { maxLength: 5 }) }) }
)

/** What a step shows, as plain values. */
async function seen(store: Store, one: Step): Promise<unknown> {
  switch (one.kind) {
    case 'batch':
      return store.batch(
        one.changes.map(({ key: name, value: held }) => ({ key: name.slice(), value: held?.slice() })),
        { sync: false }
      )
    case 'clear':
      return store.clear(one.range)
    case 'page':
      return (await store.page(one.range, one.limit, Infinity, one.back)).map(plain)
    case 'get':
      return (await store.getMany(one.keys)).map(found => found && [...found])
  }
}

function plain([name, held]: StoreEntry): unknown {
  return [[...name], [...held]]
}

describe('a store in memory', () => {
  it('holds what memory-level would hold after the same changes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async steps => {
        const store = new MemoryStore(systemClock)
        const model = await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))
        for (const one of steps) assert.deepEqual(await seen(store, one), await seen(model, one))
        await model.close()
      })
    )
  })

  describe('that clears a large range', () => {
    const COUNT = 10_000
    const name = (i: number): Uint8Array => Uint8Array.of(1, i >>> 8, i & 0xff)
    const held = Uint8Array.of(7)
    let waiting: (() => void)[]
    let store: MemoryStore

    beforeEach(async () => {
      waiting = []
      store = new MemoryStore({ soon: fn => void waiting.push(fn) })
      const all = Array.from({ length: COUNT }, (_, i) => ({ key: name(i), value: held }))
      await store.batch([...all, { key: Uint8Array.of(2), value: held }])
    })

    /** Lets others have their turn until it is done; how often. */
    async function finish(clearing: Promise<void>): Promise<number> {
      const rest = async (): Promise<void> => {
        for (let i = 0; i < 10; i++) await Promise.resolve()
      }
      let turns = 0
      for (await rest(); waiting.length > 0; await rest()) {
        turns++
        for (const fn of waiting.splice(0)) fn()
      }
      await clearing
      return turns
    }

    it('lets others have their turn in between, and leaves what is written meanwhile, and what is not in the range', async () => {
      const clearing = store.clear({ gte: Uint8Array.of(1), lt: Uint8Array.of(2) })
      await store.batch([
        { key: name(0), value: Uint8Array.of(0) },
        { key: name(COUNT - 1), value: held },
        { key: name(COUNT - 2), value: held },
        { key: Uint8Array.of(1, 255), value: held }
      ])
      await store.batch([{ key: name(COUNT - 2), value: undefined }])
      const turns = await finish(clearing)
      assert.ok(turns >= 5 && turns <= 100, `${turns} turns`)
      const left = (await store.page({ gte: new Uint8Array(0), lt: undefined }, 100)).map(([key]) => [...key])
      assert.deepEqual(left, [[...name(0)], [...name(COUNT - 1)], [1, 255], [2]])
    })

    it('beside another one leaves what was written after both', async () => {
      const first = store.clear({ gte: Uint8Array.of(1), lt: Uint8Array.of(2) })
      await store.batch([{ key: name(9000), value: held }])
      const second = store.clear({ gte: name(5000), lt: undefined })
      await store.batch([{ key: name(9001), value: held }])
      await finish(Promise.all([first, second]).then(() => {}))
      const left = (await store.page({ gte: new Uint8Array(0), lt: undefined }, 100)).map(([key]) => [...key])
      assert.deepEqual(left, [[...name(9001)]])
    })

    it('fails when it is closed before its end', async () => {
      const clearing = store.clear({ gte: Uint8Array.of(1), lt: Uint8Array.of(2) })
      await store.close()
      await assert.rejects(finish(clearing), { code: 'KV_STORAGE' })
    })

    it('is done at once with all there is', async () => {
      await store.clear({ gte: new Uint8Array(0), lt: undefined })
      assert.deepEqual([waiting.length, await store.get(name(1))], [0, undefined])
    })
  })

  it('keeps nothing alive but what it holds', async () => {
    const store = new MemoryStore(systemClock)
    const frame = new Uint8Array(100_000)
    await store.batch([{ key: Uint8Array.of(1), value: frame.subarray(10, 110) }])
    assert.equal((await store.get(Uint8Array.of(1)))!.buffer.byteLength, 100)
  })
})
