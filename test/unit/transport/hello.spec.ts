import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import { decodeHello, encodeHello, type Hello, helloProblem } from '../../../src/transport/hello.ts'

const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytes => Buffer.from(bytes).toString('hex'))
const name = fc.string({ maxLength: 16, unit: 'grapheme-ascii' })

const hellos: fc.Arbitrary<Hello> = fc.record(
  {
    version: fc.nat(255),
    versionMin: fc.nat(255),
    cluster: name,
    clusterId: fc.option(
      id.filter(text => !/^0*$/u.test(text)).map(text => text as ClusterId),
      { nil: undefined }
    ),
    storeId: id.map(text => text as StoreId),
    partitions: fc.nat(4096),
    addresses: fc.array(fc.string({ maxLength: 60 }), { maxLength: 32 }),
    weight: fc.nat(100_000).map(thousandths => thousandths / 1000),
    zone: name,
    region: name,
    volatile: fc.boolean(),
    epoch: fc.maxSafeNat(),
    wallMs: fc.maxSafeNat()
  },
  { noNullPrototype: true }
)

const HELLO: Hello = {
  version: 3,
  versionMin: 2,
  cluster: 'one',
  clusterId: undefined,
  storeId: '1'.repeat(32) as StoreId,
  partitions: 256,
  addresses: [],
  weight: 1,
  zone: '',
  region: '',
  volatile: false,
  epoch: 0,
  wallMs: 0
}
const OTHER: Hello = { ...HELLO, storeId: '2'.repeat(32) as StoreId }

describe('hello', () => {
  it('survives the wire', () => {
    fc.assert(fc.property(hellos, hello => assert.deepEqual(decodeHello(encodeHello(hello)), hello)))
  })

  it('names the life of its node at its end, where earlier versions look no further', () => {
    const hello = { ...HELLO, life: '0123456789abcdef01234567' }
    const bytes = encodeHello(hello)
    assert.deepEqual(decodeHello(bytes), hello)
    assert.deepEqual(decodeHello(Uint8Array.of(...bytes, 1, 2, 3)), hello)
    assert.deepEqual(bytes.subarray(0, -12), encodeHello(HELLO))
  })

  it('of a later version may be longer', () => {
    assert.deepEqual(decodeHello(Uint8Array.of(...encodeHello(HELLO), 1, 2, 3)), HELLO)
  })

  it('is malformed when any of it is missing', () => {
    const bytes = encodeHello({ ...HELLO, addresses: ['/ip4/1.2.3.4/tcp/5'] })
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(
        () => decodeHello(bytes.subarray(0, length)),
        error => isKilovoltError(error, 'KV_PROTOCOL')
      )
    }
  })

  it('of random bytes is read or is malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        try {
          decodeHello(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      })
    )
  })

  it('fits another whose versions overlap, and whatever the two clusters and epochs are', () => {
    assert.equal(helloProblem(HELLO, OTHER), undefined)
    assert.equal(helloProblem(HELLO, { ...OTHER, version: 2, versionMin: 1 }), undefined)
    assert.equal(helloProblem(HELLO, { ...OTHER, version: 9, versionMin: 3 }), undefined)
    assert.equal(helloProblem(HELLO, { ...OTHER, clusterId: '3'.repeat(32) as ClusterId, epoch: 99 }), undefined)
  })

  it('names both values when it does not fit', () => {
    const misfits: readonly (readonly [Partial<Hello>, RegExp])[] = [
      [{ cluster: 'two' }, /"one".*"two"/u],
      [{ version: 1, versionMin: 1 }, /2–3.*1–1/u],
      [{ version: 9, versionMin: 4 }, /2–3.*4–9/u],
      [{ partitions: 128 }, /256.*128/u],
      [{ storeId: HELLO.storeId }, /1{32}/u]
    ]
    for (const [misfit, message] of misfits) {
      const problem = helloProblem(HELLO, { ...OTHER, ...misfit })
      assert.equal(problem?.code, 'KV_HANDSHAKE')
      assert.match(problem.message, message)
      assert.ok(helloProblem({ ...OTHER, ...misfit }, HELLO) !== undefined)
    }
  })
})
