import assert from 'node:assert/strict'
import { compareBytes, utf8 } from '../../src/base/bytes.ts'
import type { Store, StoreChange } from '../../src/storage/store.ts'

/** A store to test, and how to reach the one that a later life of the same machine would open. */
export interface StoreUnderTest {
  /** A new, empty store. */
  readonly create: () => Promise<Store>
  /** Opens again what was created last, after it was closed; absent where nothing outlives the process. */
  readonly reopen?: () => Promise<Store>
}

const ALL = { gte: new Uint8Array(0), lt: undefined }
const NO_SYNC = { sync: false }

function put(key: string, value: string): StoreChange {
  return { key: utf8(key), value: utf8(value) }
}

function del(key: string): StoreChange {
  return { key: utf8(key), value: undefined }
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString()
}

async function read(store: Store, ...keys: string[]): Promise<(string | undefined)[]> {
  return (await store.getMany(keys.map(utf8))).map(text)
}

async function scan(store: Store, gte: string, lt: string | undefined, limit = 100): Promise<string[]> {
  const entries = await store.page({ gte: utf8(gte), lt: lt === undefined ? undefined : utf8(lt) }, limit)
  return entries.map(([key, value]) => `${text(key)}=${text(value)}`)
}

/** What every {@link Store} must do: to be called inside a `describe`. */
export function describeStore({ create, reopen }: StoreUnderTest): void {
  let store: Store

  beforeEach(async () => {
    store = await create()
  })

  afterEach(async () => {
    await store.close()
  })

  it('returns the values of the keys in order, and undefined where there is none', async () => {
    await store.batch([put('a', '1'), put('b', '2')], NO_SYNC)
    assert.deepEqual(await read(store, 'b', 'x', 'a', 'b'), ['2', undefined, '1', '2'])
    assert.deepEqual(await read(store), [])
  })

  it('applies puts and deletions of one batch together, the last of one key winning', async () => {
    await store.batch([put('a', '1'), put('b', '2')], NO_SYNC)
    await store.batch([del('a'), put('c', '3'), del('never'), put('b', '4'), put('b', '5')], { sync: true })
    assert.deepEqual(await scan(store, '', undefined), ['b=5', 'c=3'])
    await store.batch([], NO_SYNC)
    assert.deepEqual(await read(store, 'a', 'b'), [undefined, '5'])
  })

  it('keeps empty keys, empty values and every byte', async () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i)
    await store.batch([{ key: all, value: all }, put('', 'empty key'), put('empty value', '')], NO_SYNC)
    const [value] = await store.getMany([all])
    assert.deepEqual([...value!], [...all])
    assert.deepEqual(await read(store, '', 'empty value'), ['empty key', ''])
  })

  it('keeps values of several megabytes', async () => {
    const value = new Uint8Array(8 * 1024 * 1024).fill(7)
    await store.batch([{ key: utf8('big'), value }], NO_SYNC)
    const [found] = await store.getMany([utf8('big')])
    assert.equal(Buffer.compare(found!, value), 0)
  })

  it('orders keys by unsigned bytes, a prefix before what it begins', async () => {
    const keys = [[], [0], [0, 0], [0, 255], [1], [127], [128], [200, 1], [255], [255, 0], [255, 255]].map(bytes =>
      Uint8Array.from(bytes)
    )
    await store.batch(
      keys.toReversed().map(key => ({ key, value: key })),
      NO_SYNC
    )
    const entries = await store.page(ALL, 100)
    assert.deepEqual(
      entries.map(([key]) => [...key]),
      keys.map(key => [...key])
    )
    assert.ok(keys.every((key, i) => i === 0 || compareBytes(keys[i - 1]!, key) < 0))
  })

  it('pages through a range: from its lower bound on, up to its upper bound, no more than the limit', async () => {
    await store.batch(
      ['a', 'b', 'b1', 'c', 'd'].map(key => put(key, key)),
      NO_SYNC
    )
    assert.deepEqual(await scan(store, 'b', 'd'), ['b=b', 'b1=b1', 'c=c'])
    assert.deepEqual(await scan(store, 'b', 'd', 2), ['b=b', 'b1=b1'])
    assert.deepEqual(await scan(store, 'b2', undefined), ['c=c', 'd=d'])
    assert.deepEqual(await scan(store, 'e', undefined), [])
    assert.deepEqual(await scan(store, 'd', 'b'), [])
    assert.deepEqual(await scan(store, '', undefined, 0), [])
  })

  it('pages from the end of a range against its order', async () => {
    await store.batch(
      ['a', 'b', 'b1', 'c', 'd'].map(key => put(key, key)),
      NO_SYNC
    )
    const back = async (gte: string, lt: string | undefined, limit: number): Promise<string> => {
      const range = { gte: utf8(gte), lt: lt === undefined ? undefined : utf8(lt) }
      return (await store.page(range, limit, Infinity, true)).map(([key]) => text(key)).join(' ')
    }
    assert.equal(await back('b', 'd', 100), 'c b1 b')
    assert.equal(await back('b', 'd', 2), 'c b1')
    assert.equal(await back('', undefined, 3), 'd c b1')
    assert.equal(await back('e', undefined, 3), '')
    assert.equal(await back('d', 'b', 3), '')
  })

  it('returns whole pages of many entries', async () => {
    const keys = Array.from({ length: 3000 }, (_, i) => String(i).padStart(5, '0'))
    await store.batch(
      keys.map(key => put(key, 'v'.repeat(200))),
      NO_SYNC
    )
    assert.equal((await store.page(ALL, 2500)).length, 2500)
    const rest = await store.page({ gte: utf8('02500'), lt: undefined }, 2500)
    assert.deepEqual(
      rest.map(([key]) => text(key)),
      keys.slice(2500)
    )
  })

  it('reads on to the limit or to the bound of bytes, and at least one entry', async () => {
    await store.batch(
      Array.from({ length: 20 }, (_, i) => ({ key: Uint8Array.of(i), value: new Uint8Array(100_000) })),
      NO_SYNC
    )
    const page = await store.page(ALL, 20, 250_000)
    assert.ok(page.length >= 3 && page.length <= 20, `${page.length} entries`)
    assert.deepEqual(
      page.map(([key]) => key[0]),
      Array.from({ length: page.length }, (_, i) => i)
    )
    assert.ok((await store.page(ALL, 20, 1)).length >= 1)
  })

  it('clears a range and nothing else', async () => {
    await store.batch(
      ['a', 'b', 'b1', 'c', 'd'].map(key => put(key, key)),
      NO_SYNC
    )
    await store.clear({ gte: utf8('b'), lt: utf8('c') })
    assert.deepEqual(await scan(store, '', undefined), ['a=a', 'c=c', 'd=d'])
    await store.clear({ gte: utf8('x'), lt: utf8('y') })
    await store.clear(ALL)
    assert.deepEqual(await scan(store, '', undefined), [])
  })

  it('shows a batch to every read that follows its end', async () => {
    for (let i = 0; i < 50; i++) {
      await store.batch([put('k', String(i))], { sync: i % 10 === 0 })
      assert.deepEqual(await read(store, 'k'), [String(i)])
    }
  })

  it('lets batches run side by side, each of them whole', async () => {
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => store.batch([put(`a${i}`, String(i)), put(`b${i}`, String(i))], NO_SYNC))
    )
    for (let i = 0; i < 40; i++) assert.deepEqual(await read(store, `a${i}`, `b${i}`), [String(i), String(i)])
  })

  it('keeps its own copy of what only stands in a larger buffer', async () => {
    const frame = new Uint8Array(100_000)
    frame.fill(1, 10, 110)
    const value = frame.subarray(10, 110)
    await store.batch([{ key: frame.subarray(0, 5), value }], NO_SYNC)
    const [found] = await store.getMany([new Uint8Array(5)])
    assert.deepEqual(
      [...found!],
      Array.from({ length: 100 }, () => 1)
    )
    assert.ok(found!.buffer.byteLength < 50_000, 'the frame is kept alive by a part of it')
  })

  it('rejects everything with KV_STORAGE once it is closed, and closes twice', async () => {
    await store.batch([put('a', '1')], NO_SYNC)
    await store.close()
    await store.close()
    const failure = { name: 'KilovoltError', code: 'KV_STORAGE' }
    await assert.rejects(async () => store.getMany([utf8('a')]), failure)
    await assert.rejects(store.batch([put('a', '1')], NO_SYNC), failure)
    await assert.rejects(store.page(ALL, 1), failure)
    await assert.rejects(store.clear(ALL), failure)
  })

  if (reopen === undefined) return

  it('has everything again after it was closed and opened', async () => {
    await store.batch([put('a', '1'), put('b', '2')], NO_SYNC)
    await store.batch([del('a')], NO_SYNC)
    await store.close()
    store = await reopen()
    assert.equal(store.permanent, true)
    assert.deepEqual(await scan(store, '', undefined), ['b=2'])
  })
}
