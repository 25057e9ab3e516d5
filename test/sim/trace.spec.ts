import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { runJob } from './job.ts'
import { RECORDED, type RecordedTrace } from './record.ts'

const recorded = JSON.parse(readFileSync(RECORDED, 'utf8')) as RecordedTrace[]

describe('the trace of a simulation', function () {
  // Far more than it takes: simulations have what other tests leave of the processors.
  this.timeout(600_000)

  for (const { scenario, seed, hash } of recorded) {
    it(`of seed ${seed} of ${scenario} is the same on every machine and every version of Node`, async () => {
      const result = await runJob({ scenario, seed })
      assert.equal(
        result.hash,
        hash,
        'when behaviour was changed on purpose, record the new trace: npm run sim -- --record'
      )
    })
  }

  it('is the same when the same seed runs again, and another for another seed', async () => {
    const [first, again, other] = [
      await runJob({ scenario: 'growth', seed: 11 }),
      await runJob({ scenario: 'growth', seed: 11 }),
      await runJob({ scenario: 'growth', seed: 12 })
    ]
    assert.equal(again.hash, first.hash)
    assert.notEqual(other.hash, first.hash)
  })
})
