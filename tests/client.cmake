# unit_test lines of this folder
unit_test(rules/client/process clients)
unit_test(rules/client/docker clients base)
target_sources(rules_client_docker_test PRIVATE fake/engine.c)
# The driver's library as tests want it; `fake_nvml_old` lacks what old drivers lack.
foreach(name fake_nvml fake_nvml_old)
  add_library(${name} MODULE fake/nvml.c)
  target_link_libraries(${name} PRIVATE provision_flags PkgConfig::JANSSON)
endforeach()
target_compile_definitions(fake_nvml_old PRIVATE FAKE_NVML_OLD)
unit_test(rules/client/gpu clients)
add_dependencies(rules_client_gpu_test fake_nvml fake_nvml_old)
target_compile_definitions(rules_client_gpu_test PRIVATE FAKE_NVML="$<TARGET_FILE:fake_nvml>" FAKE_NVML_OLD="$<TARGET_FILE:fake_nvml_old>")
unit_test(rules/client/url clients)
# The test hub as a child of a test.
add_library(fake_hub STATIC fake/hub.c)
target_compile_definitions(fake_hub PRIVATE HUB_PROGRAM="${CMAKE_CURRENT_SOURCE_DIR}/fake/hub.py")
target_link_libraries(fake_hub PUBLIC clients)
unit_test(rules/client/transfer fake_hub)
unit_test(rules/client/http fake_hub)
unit_test(rules/client/hub fake_hub)
# The same client with small pieces, so that small files have many.
set(transfer ${CMAKE_SOURCE_DIR}/rules/client)
add_executable(rules_client_transfer_crew_test rules/client/transfer_crew_test.c ${transfer}/transfer.c ${transfer}/transfer_crew.c ${transfer}/transfer_fetch.c
  ${transfer}/transfer_lane.c ${transfer}/transfer_open.c ${transfer}/transfer_part.c ${transfer}/transfer_pool.c ${transfer}/transfer_salvage.c)
target_compile_definitions(rules_client_transfer_crew_test PRIVATE TRANSFER_PIECE=65536u)
target_link_libraries(rules_client_transfer_crew_test PRIVATE fake_hub PkgConfig::CMOCKA)
add_test(NAME rules/client/transfer_crew COMMAND rules_client_transfer_crew_test)
set_tests_properties(rules/client/transfer_crew PROPERTIES TIMEOUT 120
  ENVIRONMENT "ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1;UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1")
