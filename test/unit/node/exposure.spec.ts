import assert from 'node:assert/strict'
import { warnIfExposed } from '../../../src/node/exposure.ts'
import { type NodeOptions, resolveOptions } from '../../../src/node/options.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'

/** The addresses that are warned of, once. */
function warnedOf(options: NodeOptions): unknown {
  const warnings: unknown[] = []
  const logger = {
    ...silentLogger,
    warn: (message: string, fields?: Readonly<Record<string, unknown>>): void => {
      assert.match(message, /"secret".*"allow"/u)
      warnings.push(fields!['listen'])
    }
  }
  warnIfExposed(resolveOptions(options), logger)
  assert.ok(warnings.length <= 1)
  return warnings[0]
}

describe('a node that anybody may join', () => {
  const exposed = ['/ip4/0.0.0.0/tcp/7400', '/ip6/::/tcp/7400', '/ip4/10.0.0.5/tcp/0', '/dns4/node-1/tcp/7400']
  const loopback = ['/ip4/127.0.0.1/tcp/0', '/ip4/127.8.0.1/tcp/1', '/ip6/::1/tcp/0', '/dns4/localhost/tcp/0']

  it('warns of the addresses that other machines reach, once', () => {
    for (const address of exposed) assert.deepEqual(warnedOf({ listen: [address] }), [address])
    assert.deepEqual(warnedOf({ listen: [...loopback, ...exposed] }), exposed)
  })

  it('is not warned of on loopback, with a secret or with a list of peers', () => {
    assert.equal(warnedOf({}), undefined)
    assert.equal(warnedOf({ listen: loopback }), undefined)
    assert.equal(warnedOf({ listen: exposed, secret: 'correct horse' }), undefined)
    assert.equal(warnedOf({ listen: exposed, allow: [] }), undefined)
  })
})
