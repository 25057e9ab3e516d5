import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
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
        const store = new MemoryStore()
        const model = await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))
        for (const one of steps) assert.deepEqual(await seen(store, one), await seen(model, one))
        await model.close()
      })
    )
  })

  it('keeps nothing alive but what it holds', async () => {
    const store = new MemoryStore()
    const frame = new Uint8Array(100_000)
    await store.batch([{ key: Uint8Array.of(1), value: frame.subarray(10, 110) }])
    assert.equal((await store.get(Uint8Array.of(1)))!.buffer.byteLength, 100)
  })
})
