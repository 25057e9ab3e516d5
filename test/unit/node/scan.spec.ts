import assert from 'node:assert/strict'
import { compareBytes } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { type ByteRange, restAfter } from '../../../src/model/key-range.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import type { BackendOptions, BackendScan, BackendScanForm, BackendSource } from '../../../src/node/backend.ts'
import type { Scan, ScanOptions } from '../../../src/node/keyspace.ts'
import type { KeyspaceOptions } from '../../../src/node/keyspace-options.ts'
import { NodeKeyspace } from '../../../src/node/node-keyspace.ts'
import { found } from '../../support/scan-pages.ts'

/** A page that was asked for. */
interface Asked {
  readonly rows: number
  readonly options: BackendOptions
}

/** Keys with values, in order; scans of them, and deletions. */
class RowsBackend {
  readonly asked: Asked[] = []
  readonly forms: BackendScanForm[] = []
  closed = 0
  /** What fetching a page after so many pages fails with. */
  failAfter = Infinity
  /** How often it was asked whether others are to have the event loop first, and what to wait for then. */
  looks = 0
  breath: (() => Promise<void> | undefined) | undefined
  /** What deletions fail with. */
  deletesFail: KilovoltError | undefined
  readonly #rows: Map<string, RecordBytes>

  constructor(keys: readonly string[], value = (key: string): string => JSON.stringify(key)) {
    this.#rows = new Map(
      keys.map(key => [
        key,
        encodeRecord({ stamp: { hlc: 1, actor: '00112233445566ff' as Actor }, value: Buffer.from(value(key)) })
      ])
    )
  }

  keyspace(name = 'a', options: KeyspaceOptions<string, string> = {}): NodeKeyspace<string, string> {
    return new NodeKeyspace<string, string>({ data: this } as unknown as BackendSource, name, options)
  }

  scan(_keyspace: Uint8Array, range: ByteRange, options: BackendOptions, form: BackendScanForm): BackendScan {
    this.forms.push(form)
    let left = range
    return {
      next: async rows => {
        this.asked.push({ rows, options })
        if (this.asked.length > this.failAfter) throw new KilovoltError('KV_QUORUM_NOT_REACHED', 'too few')
        const entries = [...this.#rows]
          .map(([key, record]) => ({ key: Buffer.from(key), record }))
          .filter(({ key }) => compareBytes(key, left.from) >= 0)
          .filter(({ key }) => left.to === undefined || compareBytes(key, left.to) < 0)
          .sort((a, b) => compareBytes(a.key, b.key) * (form.isReverse ? -1 : 1))
          .slice(0, rows)
        if (entries.length > 0) left = restAfter(left, entries.at(-1)!.key, form.isReverse)
        return found(entries)
      },
      breathe: () => {
        this.looks++
        return this.breath?.()
      },
      close: () => {
        this.closed++
      }
    }
  }

  async putMany(_keyspace: Uint8Array, writes: readonly { readonly key: Uint8Array }[]): Promise<unknown> {
    const failures = new Map<number, unknown>()
    if (this.deletesFail !== undefined) failures.set(0, this.deletesFail)
    const results = writes.map(({ key }, i) =>
      failures.has(i) ? undefined : { existed: this.#rows.delete(Buffer.from(key).toString()) }
    )
    return { results, failures }
  }
}

const LETTERS = letters('abcdefghij')

function letters(text: string): string[] {
  return text.split('')
}

describe('a scan of a keyspace', () => {
  it('yields entries, keys and values in the order of their bytes, and asks for values only if it needs them', async () => {
    const backend = new RowsBackend(['b', 'ä', 'a', ''])
    const keyspace = backend.keyspace()
    assert.deepEqual(await keyspace.keys().all(), ['', 'a', 'b', 'ä'])
    assert.deepEqual(await keyspace.values().all(), ['', 'a', 'b', 'ä'])
    assert.deepEqual(await keyspace.entries({ reverse: true }).all(), [
      ['ä', 'ä'],
      ['b', 'b'],
      ['a', 'a'],
      ['', '']
    ])
    assert.deepEqual(
      backend.forms.map(({ isReverse, wantsValues }) => [isReverse, wantsValues]),
      [
        [false, false],
        [false, true],
        [true, true]
      ]
    )
  })

  it('keeps to its bounds: gte goes before gt, lte before lt, a prefix narrows them', async () => {
    const keyspace = new RowsBackend(LETTERS).keyspace()
    const found = async (options: ScanOptions): Promise<string> => (await keyspace.keys(options).all()).join('')
    assert.equal(await found({ gt: 'b', lt: 'e' }), 'cd')
    assert.equal(await found({ gte: 'b', lte: 'e' }), 'bcde')
    assert.equal(await found({ gt: 'd', gte: 'b', lt: 'c', lte: 'e' }), 'bcde')
    assert.equal(await found({ prefix: 'c' }), 'c')
    assert.equal(await found({ prefix: 'c', gt: 'c' }), '')
    assert.equal(await found({ prefix: '', gte: 'i' }), 'ij')
    assert.equal(await found({ gte: 'e', lt: 'b' }), '')
    assert.equal(await found({ gt: 'b', reverse: true, limit: 3 }), 'jih')
    assert.equal(await found({ limit: 0 }), '')
  })

  it('holds one page ahead, and no more', async () => {
    const backend = new RowsBackend(LETTERS)
    const scan = backend.keyspace().keys({ pageSize: 3 })
    assert.equal(backend.asked.length, 0, 'nothing is fetched before it is asked for')
    assert.equal((await scan.next()).value, 'a')
    await turn()
    assert.equal(backend.asked.length, 2)
    await scan.next()
    await scan.next()
    assert.equal(backend.asked.length, 2)
    assert.equal((await scan.next()).value, 'd')
    await turn()
    assert.equal(backend.asked.length, 3)
  })

  it('asks for no more than its limit', async () => {
    const backend = new RowsBackend(LETTERS)
    assert.deepEqual(await backend.keyspace().keys({ pageSize: 3, limit: 5 }).all(), letters('abcde'))
    assert.deepEqual(
      backend.asked.map(({ rows }) => rows),
      [3, 2]
    )
  })

  it('gives whole pages for the price of one promise each', async () => {
    const pages: string[][] = []
    const scan = new RowsBackend(LETTERS).keyspace().keys({ pageSize: 4 })
    assert.equal((await scan.next()).value, 'a')
    for await (const page of scan.pages()) pages.push(page)
    assert.deepEqual(pages, [letters('bcd'), letters('efgh'), letters('ij')])
    assert.deepEqual(await scan.next(), { value: undefined, done: true })
  })

  it('lets others have the event loop within a page, entry by entry or page by page', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => String(i).padStart(2, '0'))
    for (const by of ['entry', 'page', 'calls at once']) {
      const backend = new RowsBackend(keys)
      let breaths = 0
      let isFresh = false
      backend.breath = () => {
        isFresh = !isFresh
        return isFresh ? turn().then(() => void breaths++) : undefined
      }
      const scan = backend.keyspace().keys()
      const got: (string | undefined)[] = []
      if (by === 'entry') for await (const key of scan) got.push(key)
      else if (by === 'page') for await (const page of scan.pages()) got.push(...page)
      else {
        got.push((await scan.next()).value)
        got.push(...(await Promise.all(keys.slice(1).map(() => scan.next()))).map(({ value }) => value))
      }
      assert.deepEqual(got, keys, by)
      assert.ok(breaths >= 3 && backend.looks === 2 * breaths, `${breaths} breaths, ${backend.looks} looks, ${by}`)
    }
  })

  it('ends while it waits for others when it is left', async () => {
    const backend = new RowsBackend(LETTERS)
    const scan = backend.keyspace().keys()
    backend.breath = () => new Promise(resolve => setImmediate(resolve))
    const waiting = scan.next()
    await scan.return()
    assert.deepEqual(await waiting, { value: undefined, done: true })
  })

  it('answers calls that do not wait for each other in order', async () => {
    const scan = new RowsBackend(LETTERS).keyspace().keys({ pageSize: 2 })
    const results = await Promise.all(Array.from({ length: 12 }, () => scan.next()))
    assert.deepEqual(
      results.map(({ value }) => value),
      [...LETTERS, undefined, undefined]
    )
  })

  it('closes what it began when it is left, returned from, disposed of, or at its end', async () => {
    const leave: ((scan: Scan<string>) => Promise<unknown>)[] = [
      async scan => {
        for await (const key of scan) if (key === 'b') break
      },
      scan => scan.next().then(() => scan.return()),
      scan => scan.next().then(() => scan[Symbol.asyncDispose]()),
      scan => scan.all(),
      async scan => {
        for await (const page of scan.pages()) if (page.includes('d')) break
      }
    ]
    for (const [i, how] of leave.entries()) {
      const backend = new RowsBackend(LETTERS)
      const scan = backend.keyspace().keys({ pageSize: 2 })
      await how(scan)
      assert.equal(backend.closed, 1, `way ${i}`)
      assert.deepEqual(await scan.next(), { value: undefined, done: true })
    }
  })

  it('goes on from its token: the same keyspace and direction, whatever the bounds', async () => {
    const backend = new RowsBackend(LETTERS)
    for (const reverse of [false, true]) {
      const first = backend.keyspace().keys({ reverse, pageSize: 2 })
      assert.equal(first.token, undefined)
      for (let i = 0; i < 5; i++) await first.next()
      const second = backend.keyspace().entries({ reverse, after: first.token! })
      assert.equal(second.token, first.token)
      assert.deepEqual(
        (await second.all()).map(([key]) => key),
        reverse ? letters('edcba') : letters('fghij')
      )
    }
  })

  it('refuses a token that is none, or another’s', async () => {
    const keyspace = new RowsBackend(LETTERS).keyspace('a')
    const scan = keyspace.keys()
    await scan.next()
    const token = scan.token!
    const broken = token.slice(0, -1) + (token.endsWith('A') ? 'Q' : 'A')
    for (const after of ['', 'x', broken, token.slice(2), 7 as unknown as string]) {
      assert.throws(() => keyspace.keys({ after }), { code: 'KV_TOKEN' }, after)
    }
    assert.throws(() => keyspace.keys({ after: token, reverse: true }), { code: 'KV_TOKEN', message: /direction/u })
    const other = new RowsBackend(LETTERS).keyspace('b')
    assert.throws(() => other.keys({ after: token }), { code: 'KV_TOKEN', message: /keyspace/u })
  })

  it('refuses options that no scan can have', async () => {
    const keyspace = new RowsBackend([]).keyspace()
    for (const options of [
      { limit: -1 },
      { limit: 1.5 },
      { pageSize: 0 },
      { pageSize: 16_385 },
      { reverse: 'yes' },
      { start: 'a' },
      { w: 1 },
      { consistency: 'some' },
      { r: 0 },
      { timeoutMs: 0 }
    ] as unknown as ScanOptions[]) {
      assert.throws(() => keyspace.entries(options), { code: 'KV_CONFIG' }, JSON.stringify(options))
    }
    await assert.rejects(keyspace.count({ limit: 1 } as object), { code: 'KV_CONFIG' })
    await assert.rejects(keyspace.clear({ after: 'x' } as object), { code: 'KV_CONFIG' })
    // A bound that got lost is no wish to clear everything.
    for (const lost of ['prefix', 'gt', 'gte', 'lt', 'lte', 'limit'])
      await assert.rejects(keyspace.clear({ [lost]: undefined }), { code: 'KV_CONFIG' }, lost)
    assert.throws(() => keyspace.keys({ gt: 'x'.repeat(1025) }), { code: 'KV_KEY_TOO_LARGE' })
    assert.throws(() => keyspace.keys({ gt: 5 as unknown as string }), TypeError)
  })

  it('names the bound that is no key', () => {
    const keyspace = new RowsBackend([]).keyspace()
    for (const bound of ['gte', 'prefix'] as const) {
      const options = { [bound]: 5 } as unknown as ScanOptions
      const message = `"${bound}": a string is expected, not a number`
      assert.throws(() => keyspace.keys(options), { name: 'TypeError', message })
    }
  })

  it('fails where its page fails, after what came before, and can be gone on with', async () => {
    const backend = new RowsBackend(LETTERS)
    backend.failAfter = 2
    const scan = backend.keyspace().keys({ pageSize: 3 })
    const got: string[] = []
    await assert.rejects(
      async () => {
        for await (const key of scan) got.push(key)
      },
      { code: 'KV_QUORUM_NOT_REACHED' }
    )
    assert.deepEqual(got, letters('abcdef'))
    backend.failAfter = Infinity
    assert.deepEqual(await backend.keyspace().keys({ after: scan.token! }).all(), letters('ghij'))
  })

  it('gets past a value that cannot be decoded', async () => {
    const keyspace = new RowsBackend(LETTERS, key => (key === 'c' ? '{' : '1')).keyspace()
    const scan = keyspace.entries()
    await assert.rejects(scan.all(), { code: 'KV_ENCODING' })
    assert.equal((await keyspace.keys({ after: scan.token! }).all()).join(''), 'defghij')
  })

  it('ends with KV_ABORTED when its signal aborts, also between two entries of a page', async () => {
    const abort = new AbortController()
    const backend = new RowsBackend(LETTERS)
    const scan = backend.keyspace().keys({ signal: abort.signal })
    await scan.next()
    abort.abort()
    await assert.rejects(scan.next(), { code: 'KV_ABORTED' })
    assert.equal(backend.closed, 1)
    await assert.rejects(backend.keyspace().keys({ signal: abort.signal }).next(), { code: 'KV_ABORTED' })
    await assert.rejects(backend.keyspace().count({ signal: abort.signal }), { code: 'KV_ABORTED' })
  })

  it('hands on its level', async () => {
    const backend = new RowsBackend([])
    const keyspace = backend.keyspace('a', { consistency: 'one', r: 2 })
    await keyspace.keys().all()
    await keyspace.keys({ consistency: 'all', timeoutMs: 7 }).all()
    await keyspace.count({ r: 1 })
    assert.deepEqual(
      backend.asked.map(({ options }) => [options.requirement, options.timeoutMs]),
      [
        [2, undefined],
        ['all', 7],
        [1, undefined]
      ]
    )
  })
})

describe('a keyspace', () => {
  it('counts the keys of a range', async () => {
    const keyspace = new RowsBackend(LETTERS).keyspace()
    assert.equal(await keyspace.count(), 10)
    assert.equal(await keyspace.count({ gt: 'c' }), 7)
    assert.equal(await keyspace.count({ prefix: 'x' }), 0)
  })

  it('clears a range, from either end and up to a limit, and says how many it has deleted', async () => {
    const keyspace = new RowsBackend(LETTERS).keyspace()
    assert.equal(await keyspace.clear({ lt: 'c' }), 2)
    assert.equal(await keyspace.clear({ reverse: true, limit: 3 }), 3)
    assert.equal((await keyspace.keys().all()).join(''), 'cdefg')
    assert.equal(await keyspace.clear(), 5)
    assert.equal(await keyspace.clear(), 0)
  })

  it('rests for requests in scans and counts, and not for its own deletions when it clears', async () => {
    const backend = new RowsBackend(LETTERS)
    const keyspace = backend.keyspace()
    await keyspace.keys().all()
    await keyspace.count()
    await keyspace.clear()
    assert.deepEqual(
      backend.forms.map(({ rests }) => rests),
      [true, true, false]
    )
  })

  it('says how far it came when it could not clear everything', async () => {
    const backend = new RowsBackend(LETTERS)
    backend.deletesFail = new KilovoltError('KV_TIMEOUT', 'too late')
    await assert.rejects(backend.keyspace().clear(), { code: 'KV_TIMEOUT', details: { deleted: 9 } })
  })
})

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
