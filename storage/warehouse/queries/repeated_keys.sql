SELECT kid FROM repeated_key WHERE event_id IN (SELECT unnest($ids)::UUID)
