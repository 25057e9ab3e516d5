import assert from 'node:assert/strict'
import type { StoreId } from '../../../src/model/node-id.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { createLife, Lives } from '../../../src/transport/lives.ts'

const random = new SeededRandom(1)
const storeId = 'a'.repeat(32) as StoreId

interface Named {
  readonly storeId: StoreId
  readonly life: string
  readonly addresses: readonly string[]
}

function begun(wallMs: number, address = `/ip4/10.0.0.1/tcp/${wallMs}`): Named {
  return { storeId, life: createLife({ wallMs: () => wallMs }, random), addresses: [address] }
}

describe('the lives of a peer', () => {
  it('are in the order of their beginnings, and none is another', () => {
    const lives = [9, 10, 1_700_000_000_000, 2_000_000_000_000].map(ms => begun(ms).life)
    assert.deepEqual(lives, lives.toSorted())
    assert.ok(lives.every(life => /^[0-9a-f]{24}$/u.test(life)))
    assert.notEqual(begun(5).life, begun(5).life)
  })

  it('follow one another, whether the end of the former was noticed or not', () => {
    const lives = new Lives()
    for (let ms = 1; ms < 30; ms++) {
      const life = begun(ms)
      assert.equal(lives.admit(life, ms % 2 === 0), undefined)
      assert.equal(lives.admit(life, true), undefined, 'on a further link')
    }
    assert.equal(lives.admit({ storeId, addresses: [] }, true), undefined, 'by a version that names none')
  })

  it('that go on beside each other are found out, and the one that began first stays, whoever was met first', () => {
    const [first, copy] = [begun(1), begun(2)]
    for (const [one, other] of [
      [first, copy],
      [copy, first]
    ] as const) {
      const lives = new Lives()
      assert.equal(lives.admit(one, false), undefined)
      assert.equal(lives.admit(other, true), undefined, 'it may have started anew')
      const answers = [one, other, one, other].map(life => ({ life, error: lives.admit(life, true) }))
      for (const { life, error } of answers.slice(1)) {
        assert.equal(error === undefined, life === first)
        if (error === undefined) continue
        assert.equal(error.code, 'KV_HANDSHAKE')
        for (const { addresses } of [first, copy]) assert.ok(error.message.includes(addresses[0]!))
      }
    }
  })

  it('do not keep one out when the other is gone', () => {
    const lives = new Lives()
    const [first, copy] = [begun(1), begun(2)]
    for (const life of [first, copy, first]) lives.admit(life, true)
    assert.equal(lives.admit(copy, true)?.code, 'KV_HANDSHAKE')
    assert.equal(lives.admit(copy, false), undefined)
  })
})
