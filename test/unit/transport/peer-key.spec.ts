import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { createPeerKey, peerIdOfKey } from '../../../src/transport/peer-key.ts'

describe('the key of a peer', () => {
  it('is new each time, and always has the same id', async () => {
    const [one, two] = [await createPeerKey(), await createPeerKey()]
    assert.match(peerIdOfKey(one), /^12D3KooW/u)
    assert.equal(peerIdOfKey(one.slice()), peerIdOfKey(one))
    assert.notEqual(peerIdOfKey(one), peerIdOfKey(two))
  })

  it('is corrupt when it is anything else', () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(68), Uint8Array.of(8, 1, 18, 64)]) {
      assert.throws(
        () => peerIdOfKey(bytes),
        error => isKilovoltError(error, 'KV_CORRUPT')
      )
    }
  })
})
