import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fromHex, toHex } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { createCodec } from '../../../src/node/encodings.ts'

const codec = createCodec<unknown>('structured', 'valueEncoding')
const again = (value: unknown): unknown => codec.decode(codec.encode(value))

const typedArrays = fc.oneof<fc.Arbitrary<unknown>[]>(
  fc.uint8Array(),
  fc.uint8ClampedArray(),
  fc.int8Array(),
  fc.int16Array(),
  fc.uint16Array(),
  fc.int32Array(),
  fc.uint32Array(),
  fc.float32Array(),
  fc.float64Array(),
  fc.bigInt64Array(),
  fc.bigUint64Array()
)
const { tree } = fc.letrec<{ tree: unknown; leaf: unknown }>(tie => ({
  leaf: fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.date({ noInvalidDate: true }),
    typedArrays
  ),
  tree: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('tree'), { maxLength: 5 }),
    fc.dictionary(fc.string(), tie('tree'), { maxKeys: 5, noNullPrototype: true }),
    fc.array(fc.tuple(tie('tree'), tie('tree')), { maxLength: 4 }).map(entries => new Map(entries)),
    fc.array(tie('leaf'), { maxLength: 4 }).map(items => new Set(items))
  )
}))

describe('structured values', () => {
  it('come back as they were: dates, maps, sets, typed arrays, big integers, and fields that are undefined', () => {
    fc.assert(
      fc.property(
        tree.filter(value => value !== undefined),
        value => assert.deepEqual(again(value), value)
      ),
      { numRuns: 1000 }
    )
    // Those that floating-point seconds miss by a hair.
    for (const ms of [17530399167106, -4341659970535_136, 1, -1, 1001, 8.64e15, -8.64e15, 8.64e15 - 1]) {
      assert.equal((again(new Date(ms)) as Date).getTime(), ms)
    }
    // Which deepEqual takes for different ones on Node 20.
    assert.ok(Number.isNaN((again(new Date(NaN)) as Date).getTime()))
    const fields = again({ b: 1, a: undefined, 1: -0 }) as object
    assert.deepEqual(Object.keys(fields), ['1', 'b', 'a'])
    assert.deepEqual(again(/a+/giu), /a+/giu)
    assert.equal((again(new RangeError('too much')) as RangeError).message, 'too much')
    class OwnError extends RangeError {
      override readonly name: string = 'OwnError'
    }
    for (const error of [new OwnError('mine'), Object.assign(new Error('no class'), { name: 'toString' })]) {
      const made = again(error) as Error
      assert.ok(made instanceof Error)
      assert.deepEqual([made.name, made.message, Object.keys(made)], [error.name, error.message, []])
    }
    // Bytes are bytes: what kind of view they were seen through is not kept of these.
    assert.deepEqual(again(Buffer.from('ab')), Uint8Array.of(97, 98))
    assert.deepEqual(again(Uint8Array.of(97, 98).buffer), Uint8Array.of(97, 98))
    assert.deepEqual(again(new DataView(Uint8Array.of(97, 98).buffer)), Uint8Array.of(97, 98))
  })

  it('come back as what the guide says, where they cannot be what they were', () => {
    class Point {
      readonly x: number = 1
      readonly #hidden: number = 2
      get hidden(): number {
        return this.#hidden
      }

      get [Symbol.toStringTag](): string {
        return 'Point'
      }
    }
    assert.equal(new Point().hidden, 2)
    const made = again(new Point()) as object
    assert.deepEqual([made, Object.getPrototypeOf(made)], [{ x: 1 }, Object.prototype])
    assert.deepEqual(again({ [Symbol('left out')]: 1, a: 1 }), { a: 1 })
    const sparse: unknown[] = Object.assign([1], { also: 'left out' })
    sparse[2] = 3
    assert.deepEqual(again(sparse), [1, undefined, 3])
    assert.deepEqual(again(Object.assign(Object.create(null), { a: 1 })), { a: 1 })
    assert.deepEqual(again({ constructor: 1 }), { constructor: 1 })
    const twice = { a: 1 }
    const [first, second] = again([twice, twice]) as object[]
    assert.notEqual(first, second)
  })

  it('are the same bytes on every version of Node, and elsewhere', () => {
    const value = {
      at: new Date(1_767_323_045_678),
      ids: new Set([1, 2]),
      by: new Map<unknown, unknown>([[1n, 'a']]),
      big: -(2n ** 70n),
      raw: new Float32Array([1.5]),
      gone: undefined
    }
    const bytes =
      'a6626174c1fb41da55cd696b645a63696473d90102820102626279d90103a1c241016161' +
      '63626967c3493fffffffffffffffff63726177d855440000c03f64676f6e65f7'
    assert.equal(toHex(codec.encode(value)), bytes)
    assert.deepEqual(codec.decode(fromHex(bytes)!), value)
  })

  it('share no memory with their bytes, nor the bytes of one with those of the next', () => {
    const given = { bytes: new Uint8Array(5000).fill(1), small: Uint8Array.of(1, 2) }
    const bytes = codec.encode(given)
    const copy = bytes.slice()
    codec.encode({ bytes: new Uint8Array(5000).fill(2), small: Uint8Array.of(3, 4) })
    assert.deepEqual(bytes, copy)
    const made = codec.decode(bytes) as typeof given
    made.bytes.fill(9)
    made.small.fill(9)
    // Bytes without a tag, as other languages write them.
    ;(codec.decode(Uint8Array.of(0x42, 7, 7)) as Uint8Array).fill(9)
    assert.deepEqual(bytes, copy)
  })

  it('do not reach prototypes', () => {
    const made = again(JSON.parse('{"__proto__":{"admin":true}}')) as { admin?: boolean }
    assert.equal(made.admin, undefined)
    assert.equal(Object.getPrototypeOf(made), Object.prototype)
  })

  it('are refused when they have no such form', () => {
    for (const wrong of [undefined, () => {}, Symbol('a')]) assert.throws(() => codec.encode(wrong), TypeError)
    const circle: unknown[] = []
    circle.push(circle)
    for (const wrong of [circle, { fn: () => {} }, [Promise.resolve()], new URL('http://a')]) {
      assert.throws(() => codec.encode(wrong), { code: 'KV_ENCODING' })
    }
    // What would be empty afterwards, or something else.
    const emptied = [
      ...[5, 'text', true, 5n, Symbol('a')].map(Object),
      (function* () {})(),
      [1].values(),
      new Map().entries(),
      new WeakRef({}),
      new AbortController().signal,
      new URLSearchParams('a=b'),
      new Intl.NumberFormat('en'),
      new DOMException('gone', 'AbortError')
    ]
    for (const wrong of emptied) {
      for (const value of [wrong, { deep: [wrong] }, new Map([[wrong, 1]]), new Set([wrong])]) {
        assert.throws(() => codec.encode(value), { code: 'KV_ENCODING' }, Object.prototype.toString.call(wrong))
      }
    }
    for (const half of ['\ud800', ['a\udfff'], { '\ud83c': 1 }, new Map([['\ud83c', 1]])]) {
      assert.throws(() => codec.encode(half), { code: 'KV_ENCODING', message: /surrogate/u })
    }
  })

  it('are refused or readable, whatever the bytes', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.tuple(tree, fc.nat(200), fc.nat(255)).map(([value, at, byte]) => {
        const bytes = codec.encode([value]).slice()
        bytes[at % bytes.length] = byte
        return bytes
      })
    )
    fc.assert(
      fc.property(hostile, bytes => {
        try {
          codec.decode(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_ENCODING'), String(error))
        }
      }),
      { numRuns: 3000 }
    )
    // An array in an array in an array, and one that says it has 2^32 items.
    const deep = [new Uint8Array(200_000).fill(0x81), Uint8Array.of(0x9b, 0, 0, 0, 1, 0, 0, 0, 0)]
    for (const bytes of deep) assert.throws(() => codec.decode(bytes), { code: 'KV_ENCODING' })
  })
})
