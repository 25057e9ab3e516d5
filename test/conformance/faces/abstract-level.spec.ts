import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { KilovoltLevel } from 'kilovolt/level'
import { runTape, type TapeTest } from '../../support/tape.ts'
import { CLUSTERS, Turns } from '../../support/turns.ts'

interface SuiteOptions {
  readonly test: TapeTest
  readonly factory: (options?: object) => unknown
}

/** abstract-level's own tests, as they are published. */
const suite = createRequire(import.meta.url)('abstract-level/test') as (options: SuiteOptions) => void

/**
 * What the suite leaves out by itself, as the manifest says: `getSync` (a cluster cannot answer at once), explicit and implicit
 * snapshots (a scan is none), `createIfMissing` and `errorIfExists` (a keyspace always exists), and the three cases of a
 * database that survives its process, where the nodes are in memory.
 */
for (const cluster of CLUSTERS) {
  describe(`abstract-level over ${cluster.title}`, () => {
    const turns = new Turns()
    before(() => turns.start(cluster))
    after(() => turns.stop())

    it('passes its own suite', async () => {
      const { cases, assertions, failures } = await runTape(test =>
        suite({
          test,
          factory: options => {
            const node = turns.next()
            return new KilovoltLevel(node, { ...options, keyspace: `level-${turns.number}` })
          }
        })
      )
      assert.deepEqual(failures, [])
      // So that a suite which does not run does not pass.
      assert.ok(cases.length > 1000 && assertions > 4000, `${cases.length} cases, ${assertions} assertions`)
    }).timeout(120_000)
  })
}
