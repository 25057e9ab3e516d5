import assert from 'node:assert/strict'
import fc from 'fast-check'
import { utf8 } from '../../../src/base/bytes.ts'
import { createCodec, type EncodingName } from '../../../src/node/encodings.ts'

type What = 'keyEncoding' | 'valueEncoding'
const BOTH: readonly What[] = ['keyEncoding', 'valueEncoding']

function codecOf(encoding: unknown, what: What = 'valueEncoding') {
  return createCodec<unknown>(encoding as EncodingName, what)
}

describe('encodings', () => {
  const carts = utf8('carts')

  it('say of what they were given something that they do not take', () => {
    const cases: readonly [What, unknown, unknown, string][] = [
      ['keyEncoding', 'utf8', 5, 'the key: a string is expected, not a number'],
      ['valueEncoding', 'utf8', null, 'the value: a string is expected, not null'],
      ['valueEncoding', 'view', {}, 'the value: a Uint8Array is expected, not an object'],
      ['valueEncoding', 'json', undefined, 'the value: undefined has no JSON form; to remove a key, use delete'],
      ['valueEncoding', 'json', () => 5, 'the value: a function has no JSON form; to remove a key, use delete']
    ]
    for (const [what, name, wrong, message] of cases) {
      const codec = createCodec<unknown>(name as EncodingName, what, carts)
      assert.throws(() => codec.encode(wrong), { name: 'TypeError', message })
    }
  })

  it('say of which keyspace they cannot read something, and why that may be', () => {
    const cases = [
      [
        'valueEncoding',
        /^could not decode a value of keyspace "carts" as json .*: was it written with another valueEncoding\?$/u
      ],
      [
        'keyEncoding',
        /^could not decode a key of keyspace "carts" as json .*: was it written with another keyEncoding\?$/u
      ]
    ] as const
    for (const [what, message] of cases) {
      const codec = createCodec<unknown>('json', what, carts)
      assert.throws(() => codec.decode(Buffer.from('{')), { code: 'KV_ENCODING', message })
    }
    assert.throws(
      () => createCodec<unknown>('json', 'valueEncoding').decode(Buffer.from('{')),
      /of the default keyspace/u
    )
  })
})

describe('encodings that Level has', () => {
  it('give back bytes that are given as text', () => {
    for (const name of ['hex', 'base64'] as const) {
      fc.assert(
        fc.property(fc.uint8Array(), bytes => {
          const codec = codecOf(name)
          const text = Buffer.from(bytes).toString(name)
          assert.deepEqual([...codec.encode(text)], [...bytes])
          assert.equal(codec.decode(bytes), text)
        })
      )
    }
    assert.deepEqual([...codecOf('hex').encode('AbfF')], [0xab, 0xff])
    for (const text of ['+/8=', '+/8', '-_8']) assert.deepEqual([...codecOf('base64').encode(text)], [0xfb, 0xff])
  })

  it('refuse text that is no such bytes, instead of taking a part of it', () => {
    // The low bytes of the last ones are those of digits: they would be other names of a key.
    for (const wrong of ['abc', 'abxx', 'ab cd', 5, null, Buffer.from('ab'), 'İı', '١٢', 'ab\n', 'ab\u{10161}']) {
      for (const what of BOTH) assert.throws(() => codecOf('hex', what).encode(wrong), TypeError, String(wrong))
    }
    for (const wrong of ['a', 'ab.d', 'abc d', 'ab=c', 'abcde', 5, undefined]) {
      assert.throws(() => codecOf('base64').encode(wrong), TypeError, String(wrong))
    }
  })

  it('refuse text with half a pair: all halves would be one, U+FFFD, and two keys the same', () => {
    const custom = { name: 'own', format: 'utf8', encode: String, decode: (text: string) => text }
    for (const what of BOTH) {
      for (const encoding of ['utf8', 'utf-8', custom]) {
        const codec = codecOf(encoding, what)
        for (const half of ['\ud800', 'a\udfff', '\udf00\ud83c']) assert.throws(() => codec.encode(half), TypeError)
        for (const whole of ['', 'ä', '\ud83c\udf00', '\ufffd', '\ufeff']) {
          assert.equal(codec.decode(codec.encode(whole)), whole)
        }
      }
      // JSON has a form for it.
      assert.equal(codecOf('json', what).decode(codecOf('json', what).encode('\ud800')), '\ud800')
    }
  })

  it('say of what JSON has no form for that it is so', () => {
    const wrongs = [undefined, () => {}, Symbol('a'), { toJSON: () => undefined }, { toJSON: () => () => {} }]
    for (const what of BOTH) {
      for (const wrong of wrongs) {
        assert.throws(() => codecOf('json', what).encode(wrong), { name: 'TypeError', message: /JSON form/u })
      }
      for (const emptied of [Promise.resolve(1), new Map([[1, 2]]), new Set([1]), new TypeError('no')]) {
        assert.throws(() => codecOf('json', what).encode(emptied), {
          name: 'TypeError',
          message: /await it|structured/u
        })
      }
      assert.deepEqual(codecOf('json', what).decode(codecOf('json', what).encode({ a: undefined })), {})
    }
    // Within a value what it has another form for is that, as the guide says.
    const again = (value: unknown): unknown => codecOf('json').decode(codecOf('json').encode(value))
    assert.deepEqual(again([Number.NaN, Infinity, -0, new Map([[1, 2]]), new Set([1]), new Date(0)]), [
      null,
      null,
      0,
      {},
      {},
      '1970-01-01T00:00:00.000Z'
    ])
  })

  it('have the other names that Level knows them by', () => {
    assert.deepEqual(codecOf('binary').decode(Uint8Array.of(1)), Buffer.of(1))
    assert.equal(codecOf('utf-8').decode(Buffer.from('ä')), 'ä')
    assert.throws(() => codecOf('utf-8').encode(5), TypeError)
  })

  it('are refused when there is no such encoding', () => {
    for (const what of BOTH) {
      for (const wrong of ['xml', '', 'constructor', null, 5, {}, { encode: () => Buffer.of() }]) {
        assert.throws(() => codecOf(wrong, what), { code: 'KV_CONFIG' })
      }
    }
    const both = { encode: String, decode: String }
    assert.throws(() => codecOf({ ...both, format: 'utf16' }), { code: 'KV_CONFIG', message: /utf8/u })
    assert.throws(() => codecOf('structured', 'keyEncoding'), { code: 'KV_CONFIG', message: /values only/u })
  })
})

describe('encodings of one’s own', () => {
  /** As encodings of the package abstract-encoding are: without a buffer `encode` makes one, into another it writes. */
  const abstractEncoding = {
    encode(value: number, buffer: Buffer = Buffer.alloc(4), at = 0): Buffer {
      buffer.writeUInt32BE(value, at)
      return buffer
    },
    decode: (buffer: Buffer, at = 0): number => buffer.readUInt32BE(at)
  }
  const shapes: Readonly<Record<string, unknown>> = {
    'of a format of bytes': {
      format: 'view',
      name: 'number',
      encode: (value: number) => Uint8Array.of(value, value >> 8),
      decode: (view: Uint8Array) => view[0]! + view[1]! * 256
    },
    'of a format of buffers': {
      format: 'buffer',
      encode: (value: number) => Buffer.from(String(value)),
      decode: (buffer: Buffer) => Number(buffer.toString())
    },
    'of a format of text': {
      format: 'utf8',
      name: 'number',
      encode: (value: number) => `\u{feff}ä${value}`,
      decode: (text: string) => Number(text.slice(2))
    },
    'of the form that level-codec had, of text': {
      type: 'number',
      buffer: false,
      encode: String,
      decode: (text: unknown) => (typeof text === 'string' ? Number(text) : NaN)
    },
    'of multiformats': {
      name: 'number',
      code: 0x55,
      encode: (value: number) => Uint8Array.of(value, value >> 8),
      decode: (view: unknown) =>
        Buffer.isBuffer(view) ? NaN : (view as Uint8Array)[0]! + (view as Uint8Array)[1]! * 256
    },
    'of abstract-encoding': abstractEncoding,
    'of a class': new (class {
      readonly #base = 1000
      encode(value: number): Uint8Array {
        return Buffer.from(String(value + this.#base))
      }

      decode(buffer: Buffer): number {
        return Number(buffer.toString()) - this.#base
      }
    })()
  }

  for (const [name, encoding] of Object.entries(shapes)) {
    it(`work when they are ${name}, for keys and values`, () => {
      for (const what of BOTH) {
        const codec = codecOf(encoding, what)
        fc.assert(fc.property(fc.nat(0xffff), value => assert.equal(codec.decode(codec.encode(value)), value)))
      }
    })
  }

  it('share no memory of keys with their encoding, nor what they are to decode with the store', () => {
    for (const format of ['view', 'buffer'] as const) {
      const scratch = Buffer.alloc(2)
      const codec = createCodec<Uint8Array>(
        { format, encode: value => scratch.fill(value[0]!), decode: bytes => bytes.fill(9) },
        'keyEncoding'
      )
      const first = codec.encode(Uint8Array.of(1))
      codec.encode(Uint8Array.of(2))
      assert.deepEqual([...first], [1, 1])
      codec.decode(first)
      assert.deepEqual([...first], [1, 1])
    }
  })

  it('are told of what they make that is not of their format', () => {
    const wrong = { name: 'wrong', encode: () => 'text', decode: () => 0 }
    assert.throws(() => codecOf(wrong).encode(1), TypeError)
    assert.throws(() => codecOf({ ...wrong, format: 'utf8', encode: () => Buffer.of() }).encode(1), TypeError)
  })

  it('name themselves when they fail, whatever their format', () => {
    const fail = (): never => {
      throw new RangeError('no')
    }
    for (const format of ['view', 'buffer', 'utf8', undefined] as const) {
      const codec = codecOf({ name: 'own', format, encode: fail, decode: fail })
      assert.throws(() => codec.encode(1), {
        code: 'KV_ENCODING',
        message: /^could not encode a value of the default keyspace as own/u
      })
      assert.throws(() => codec.decode(new Uint8Array()), {
        code: 'KV_ENCODING',
        message: /^could not decode a value .* as own .*another valueEncoding/u
      })
    }
  })
})
