-- A million decisions of a cluster with 200 namespaces and 10,000 workloads, one every three seconds. Written by SQL
-- alone: the gate would take as long for it as for any million decisions.
INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, username,
    rules, images, repeat_of, prev_hash, facets, hash, line)
WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < 999999),
made AS (SELECT number, number * 7919 % 10000 AS workload FROM numbers),
named AS (
    SELECT number, workload,
        printf('019a0000-0000-7000-8000-%012x', number) AS id,
        'team-' || (workload % 200) AS namespace,
        'app-' || (workload % 1000) AS name,
        CASE workload % 5 WHEN 0 THEN 'CronJob' WHEN 1 THEN 'StatefulSet' WHEN 2 THEN 'Job' ELSE 'Deployment' END AS kind,
        CASE number % 10 WHEN 0 THEN 'deny' WHEN 1 THEN 'warn' ELSE 'allow' END AS decision,
        'system:serviceaccount:ci:deployer-' || (workload % 50) AS username,
        printf('registry.example/team-%d/app-%d', workload % 200, workload % 1000) AS repository,
        printf('sha256:%064x', workload * 10 + number / 10000 % 10) AS digest
    FROM made
)
SELECT '01a1ee56-5e00-7fd1-899b-ea8a922a04ed', number + 1, id,
    strftime('%Y-%m-%dT%H:%M:%f', 1795000000 + number * 3, 'unixepoch') || '000Z', decision, namespace, kind, name,
    'UPDATE', username, iif(decision = 'allow', '', 'imageAge'), repository || ':' || number || ' ' || digest, NULL,
    hex(zeroblob(32)),
    json_array('namespace=' || namespace, 'kind=' || kind, 'name=' || name, 'user=' || username,
        'decision=' || decision, iif(decision = 'allow', 'policy=production', 'rule=imageAge'), 'policy=production',
        'policy=team-' || (workload % 20), 'service=service-' || (workload % 2000), 'repository=' || repository,
        'digest=' || digest, iif(number % 1000 = 0, 'exception=fix-' || (number / 1000), 'policy=production')),
    hex(zeroblob(32)), json_object('decision_id', id, 'padding', hex(zeroblob(600)))
FROM named;
